"""``edgeferry edges``: the edges that the Cloud admits. A running Cloud takes changes at once."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import SyncSettings, load_settings
from edgeferry.sync.edges import Edge, Edges, add_edge, may_return, remove_edge, rotate_secret
from edgeferry.tools.dialled import Enrolment, dialled, pinned_fingerprint
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table
from edgeferry.tools.site_rest import SiteRest

_ONE = {"pageSize": 1, "page": 0}


@click.group()
def edges() -> None:
    """The edges that the Cloud admits and what is assigned to them."""


@edges.command()
@click.argument("name")
@settings_option("cloud")
@json_option
@asynchronous
async def add(name: str, settings_file: Path, as_json: bool) -> None:
    """Admit an edge named NAME, and print the command that enrols it. Its secret is shown now
    and kept nowhere. One that was removed is the same again, with all that is assigned to it."""
    sync, file = _sync(settings_file)
    enrolling = _Enrolling(sync)
    again = may_return(file, name)
    edge, secret = add_edge(file, name)
    enrolment = enrolling.enrolment(edge, secret)
    if as_json:
        print_json({**_row(edge), **enrolment._asdict(), "command": enrolment.command()})
        return
    if again:
        click.echo(
            f"{edge.name} is admitted again as {edge.id}. Run on its machine, this once, where it "
            f"was (what waits\nthere goes up):\n\n  {enrolment.command()}\n\n"
            "In a new data folder the same command begins anew, and what is assigned to it comes "
            "down."
        )
    else:
        click.echo(
            f"{edge.name} is admitted as {edge.id}. Run on its machine, this once:\n\n  "
            f"{enrolment.command()}"
        )
    click.echo(
        "\nWith --host 0.0.0.0 devices on other machines reach it, too. "
        "The secret is kept nowhere here."
    )


@edges.command("list")
@settings_option("cloud")
@json_option
@asynchronous
async def list_edges(settings_file: Path, as_json: bool) -> None:
    """All edges."""
    _, file = _sync(settings_file)
    rows = [_row(edge) for edge in Edges(file).all()]
    if as_json:
        print_json(rows)
    else:
        print_table(("id", "name", "key"), (row.values() for row in rows))


@edges.command()
@settings_option("cloud")
@json_option
@asynchronous
async def status(settings_file: Path, as_json: bool) -> None:
    """How far each lane is, in a running Cloud: events made, sent, received, durable at the
    other end (acked) and handed on there (applied); how many wait, the age of the oldest, and
    how many went over it per second, lately. All are positions: a lost event is below them,
    too, and never came."""
    settings = load_settings(settings_file)
    shown = (await SiteRest(settings).shown("/edges"))["edges"]
    if as_json:
        print_json(shown)
        return
    print_table(
        ("edge", "connected", "lane", "made", "sent", "received", "acked", "applied", "waiting",
         "oldest", "per second", "lost"),
        (row for edge in shown for row in _lane_rows(edge)),
    )  # fmt: skip
    for edge in shown:
        if edge.get("sending_all"):
            click.echo(
                f"{edge['name']}: a store was lost, all that is assigned to it goes down again"
            )


def _lane_rows(edge: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    head = (edge["name"], "yes" if edge["connected"] else "no")
    lanes = [("up", lane) for lane in edge["lanes"]] + [("down", lane) for lane in edge["down"]]
    for direction, lane in lanes:
        age = lane["oldest_age_ms"]
        oldest = "" if age is None else f"{age / 1000:.0f} s"
        positions = (lane.get(name) for name in ("made", "sent", "received", "acked", "applied"))
        shown = ("" if at is None else at for at in positions)
        yield (*head, f"{lane['lane']} {direction}", *shown, lane["depth"], oldest, lane["rate"],
               lane["lost"])  # fmt: skip
    if not lanes:
        yield (*head, *[""] * 10)


@edges.command()
@click.argument("name")
@settings_option("cloud")
@json_option
@asynchronous
async def remove(name: str, settings_file: Path, as_json: bool) -> None:
    """Admit the edge NAME no longer; its connection ends, what it has sent stays, and so does
    what is assigned to it: `edgeferry edges add NAME` admits it again, with another key."""
    _, file = _sync(settings_file)
    removed = remove_edge(file, name)
    if as_json:
        print_json(_row(removed))
        return
    click.echo(f"{removed.name} (key {removed.key}) is admitted no longer. The way back:\n")
    click.echo(f"  edgeferry edges add {shlex.quote(removed.name)}")


@edges.command()
@click.argument("name")
@settings_option("cloud")
@json_option
@asynchronous
async def rotate(name: str, settings_file: Path, as_json: bool) -> None:
    """Give the edge NAME a new secret, and print the command that it takes it by. The one
    before is good no longer: its connection ends."""
    sync, file = _sync(settings_file)
    enrolling = _Enrolling(sync)
    edge, secret = rotate_secret(file, name)
    enrolment = enrolling.enrolment(edge, secret)
    command = enrolment.new_secret_command()
    if as_json:
        print_json({**_row(edge), **enrolment._asdict(), "command": command})
        return
    click.echo(
        f"{edge.name} has a new secret, the one before is good no longer. Run on its machine, in "
        f"the folder\nthat holds its data (or name that with --data); the Edge may run "
        f"meanwhile:\n\n  {command}\n\nThe secret is kept nowhere here."
    )


@edges.command()
@click.argument("name")
@click.argument("devices", nargs=-1, required=True, metavar="DEVICE...")
@settings_option("cloud")
@json_option
@asynchronous
async def assign(name: str, devices: tuple[str, ...], settings_file: Path, as_json: bool) -> None:
    """Assign the devices of these names to the edge NAME: they and their attributes go down to
    it, and it may write about them. In a running Cloud."""
    await _assignment("POST", name, devices, settings_file, as_json)


@edges.command()
@click.argument("name")
@click.argument("devices", nargs=-1, required=True, metavar="DEVICE...")
@settings_option("cloud")
@json_option
@asynchronous
async def unassign(name: str, devices: tuple[str, ...], settings_file: Path, as_json: bool) -> None:
    """The devices of these names are the edge's no longer: they go from it. In a running
    Cloud."""
    await _assignment("DELETE", name, devices, settings_file, as_json)


async def _assignment(
    method: str, name: str, devices: tuple[str, ...], settings_file: Path, as_json: bool
) -> None:
    site = await SiteRest(load_settings(settings_file)).login()
    edge = await site.call("GET", "/api/tenant/edge", query={"edgeName": name})
    found = [
        await site.call("GET", "/api/tenant/devices", query={"deviceName": device})
        for device in dict.fromkeys(devices)
    ]  # all of them before one changes
    for device in found:
        path = f"/api/edge/{edge['id']['id']}/device/{device['id']['id']}"
        await site.call(method, path)
    rows = [{"name": device["name"], "id": device["id"]["id"], "edge": name} for device in found]
    if as_json:
        print_json(rows)
        return
    done = "is assigned to" if method == "POST" else "is assigned no longer to"
    for row in rows:
        click.echo(f"{row['name']} ({row['id']}) {done} {name}")


@edges.command()
@click.argument("name")
@settings_option("cloud")
@json_option
@asynchronous
async def sync(name: str, settings_file: Path, as_json: bool) -> None:
    """Send all devices that are assigned to the edge NAME down again, with their attributes:
    for an Edge that has lost its data folder. In a running Cloud."""
    site = await SiteRest(load_settings(settings_file)).login()
    edge = await site.call("GET", "/api/tenant/edge", query={"edgeName": name})
    id_ = edge["id"]["id"]
    await site.call("POST", f"/api/edge/sync/{id_}")
    total = (await site.call("GET", f"/api/edge/{id_}/devices", query=_ONE))["totalElements"]
    if as_json:
        print_json({"id": id_, "name": name, "devices": total})
    else:
        click.echo(f"{total} devices go down to {name} again")


class _Enrolling:
    """Made before anything is changed: a certificate that cannot be read changes nothing."""

    def __init__(self, sync: SyncSettings) -> None:
        """Raises InvalidSettings."""
        self._cloud, self._fingerprint = dialled(sync), pinned_fingerprint(sync)

    def enrolment(self, edge: Edge, secret: str) -> Enrolment:
        return Enrolment(self._cloud, edge.key, secret, self._fingerprint)


def _row(edge: Edge) -> dict[str, str]:
    return {"id": edge.id, "name": edge.name, "key": edge.key}


def _sync(settings_file: Path) -> tuple[SyncSettings, Path]:
    """Raises InvalidSettings."""
    sync = load_settings(settings_file).sync
    if sync.edges_file is None:
        raise InvalidSettings(f"{settings_file}: set sync.edges_file to a path first")
    return sync, sync.edges_file
