"""What a person reads when ``edgeferry up`` is ready: addresses, tokens, commands to try."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from edgeferry.tools.demonstration import PASSWORD_VARIABLE, Demonstration

_DEVICES_SHOWN = 8


def print_ready(line: Mapping[str, Any], made: Demonstration) -> None:
    """Plain lines, never wrapped: ids and tokens are there to be copied."""
    pids, cloud, edge = line["pids"], line["cloud"], line["edge"]
    parts = [
        ("Cloud REST", f"http://{cloud['http']}", pids["cloud"]),
        ("Cloud device MQTT", cloud["mqtt"], ""),
        ("Cloud sync (gRPC, TLS)", cloud["sync"], ""),
        ("Edge REST, device HTTP", f"http://{edge['http']}", pids["edge"]),
        ("Edge device MQTT", edge["mqtt"], ""),
    ]
    for name in ("kafka", "cassandra"):
        if line[name]:
            parts.append((name.capitalize(), line[name], pids.get(name, "")))
    click.echo("Edgeferry is ready\n")
    _print_columns([("", "address", "process"), *parts])
    devices = line["devices"]
    if devices:
        rows = [(device["name"], device["id"], device["token"]) for device in devices]
        _print_columns([("device at the Edge", "id", "token"), *rows[:_DEVICES_SHOWN]])
        if len(rows) > _DEVICES_SHOWN:
            click.echo("`edgeferry devices list` shows the others\n")
    where = line["admin"]["password_file"] or f"as given in {PASSWORD_VARIABLE}"
    click.echo(f"User {line['admin']['username']}, password in {where}")
    for site in made.sites:
        kinds = f"log {site.log.kind}, store {site.store.kind}"
        click.echo(f"{site.role.capitalize():6}chain {site.root_chain}, {kinds}")
    click.echo("Ctrl-C stops everything.\n")
    if devices:
        click.echo("\n".join(_examples(line)))


def _print_columns(rows: Sequence[Sequence[object]]) -> None:
    widths = [max(len(str(row[n])) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        click.echo(_padded(row, widths))
    click.echo()


def _padded(row: Iterable[object], widths: Iterable[int]) -> str:
    cells = (f"{cell!s:<{width}}" for cell, width in zip(row, widths, strict=True))
    return "  ".join(cells).rstrip()


def _examples(line: Mapping[str, Any]) -> list[str]:
    device = line["devices"][0]
    mqtt_host, _, mqtt_port = line["edge"]["mqtt"].rpartition(":")
    cloud = line["cloud"]["http"]
    password = line["admin"]["password_file"]
    shown = f"$(cat {password})" if password else f"${PASSWORD_VARIABLE}"
    username = line["admin"]["username"]
    value = "'{\"temperature\": 21.5}'"
    publish = f"curl -d {value} http://{line['edge']['http']}/api/v1/{device['token']}/telemetry"
    by_mqtt = (
        f"mosquitto_pub -h {mqtt_host} -p {mqtt_port} -u {device['token']} -q 1 "
        f"-t v1/devices/me/telemetry -m {value}"
    )
    login = (
        f"TOKEN=$(curl -s http://{cloud}/api/auth/login -H 'Content-Type: application/json' "
        f'-d "{{\\"username\\":\\"{username}\\",\\"password\\":\\"{shown}\\"}}" '
        '| sed \'s/.*"token":"\\([^"]*\\).*/\\1/\')'
    )
    read = (
        f"curl -s 'http://{cloud}/api/plugins/telemetry/DEVICE/{device['id']}"
        '/values/timeseries?keys=temperature\' -H "X-Authorization: Bearer $TOKEN"; echo'
    )
    return [
        f"Publish at the Edge, by HTTP or MQTT:\n  {publish}\n  {by_mqtt}",
        "Read in the Cloud (a value of null: nothing has come yet, ask again in a moment):",
        f"  {login}\n  {read}",
    ]
