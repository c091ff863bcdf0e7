"""``edgeferry devices``: the devices of a running site and their tokens."""

from pathlib import Path
from typing import Any

import click

from edgeferry.core.errors import InvalidSettings
from edgeferry.gateway.devices import DEFAULT_PROFILE
from edgeferry.gateway.stored import GATEWAY
from edgeferry.runtime.settings import load_settings
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table
from edgeferry.tools.site_rest import SiteRest

_DEVICES = "/api/tenant/devices"


@click.group()
def devices() -> None:
    """The devices of a running site: add, list, remove."""


@devices.command()
@click.argument("name")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="The device's type.")
@click.option("--token", help="Its access token.  [default: a random one]")
@click.option("--gateway", is_flag=True, help="It speaks for devices behind it.")
@settings_option("edge")
@json_option
@asynchronous
async def add(
    name: str, profile: str, token: str | None, gateway: bool, settings_file: Path, as_json: bool
) -> None:
    """Add a device named NAME."""
    site = await _site(settings_file)
    query = {"accessToken": token} if token is not None else {}
    body: dict[str, Any] = {"name": name, "type": profile}
    if gateway:
        body |= {"additionalInfo": {GATEWAY: True}}
    made = await site.call("POST", "/api/device", body, query)
    _print_one(await _row(site, made), as_json)


@devices.command("list")
@settings_option("edge")
@json_option
@asynchronous
async def list_devices(settings_file: Path, as_json: bool) -> None:
    """All devices with their tokens."""
    site = await _site(settings_file)
    rows = [await _row(site, device) for device in await site.pages(_DEVICES)]
    if as_json:
        print_json(rows)
    else:
        _print_rows(rows)


@devices.command()
@click.argument("name")
@settings_option("edge")
@json_option
@asynchronous
async def remove(name: str, settings_file: Path, as_json: bool) -> None:
    """Remove the device NAME at both ends; its stored values stay. An Edge removes only what was
    made there: what the Cloud has given it is unassigned or removed in the Cloud."""
    site = await _site(settings_file)
    device = await site.call("GET", _DEVICES, query={"deviceName": name})
    row = await _row(site, device)
    await site.call("DELETE", f"/api/device/{row['id']}")
    _print_one(row, as_json)


async def _site(settings_file: Path) -> SiteRest:
    settings = load_settings(settings_file)
    if not settings.http.port:
        raise InvalidSettings(f"{settings_file}: set http.port to the one that the site listens on")
    return await SiteRest(settings).login()


async def _row(site: SiteRest, device: dict[str, Any]) -> dict[str, str]:
    """``token`` is empty for a device that is known by its data alone."""
    id_ = device["id"]["id"]
    token = ""
    if device["version"]:
        credentials = await site.call("GET", f"/api/device/{id_}/credentials")
        token = credentials["credentialsId"]
    return {"name": device["name"], "id": id_, "profile": device["type"], "token": token}


def _print_one(row: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(row)
    else:
        _print_rows([row])


def _print_rows(rows: list[dict[str, str]]) -> None:
    print_table(("name", "id", "profile", "token"), (row.values() for row in rows))
