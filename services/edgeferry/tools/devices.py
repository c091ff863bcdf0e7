"""``edgeferry devices``: the devices of a site and their tokens. A running gateway takes
changes within a second."""

from pathlib import Path

import click

from edgeferry.core.errors import InvalidSettings
from edgeferry.gateway.devices import (
    DEFAULT_PROFILE,
    Device,
    add_device,
    read_devices,
    remove_device,
)
from edgeferry.runtime.settings import load_settings
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table


@click.group()
def devices() -> None:
    """The devices of a site: add, list, remove."""


@devices.command()
@click.argument("name")
@click.option("--profile", default=DEFAULT_PROFILE, show_default=True, help="The device's type.")
@click.option("--token", help="Its access token.  [default: a random one]")
@settings_option("edge")
@json_option
@asynchronous
async def add(
    name: str, profile: str, token: str | None, settings_file: Path, as_json: bool
) -> None:
    """Add a device named NAME."""
    _print([add_device(_file(settings_file), name, profile, token)], as_json)


@devices.command("list")
@settings_option("edge")
@json_option
@asynchronous
async def list_devices(settings_file: Path, as_json: bool) -> None:
    """All devices with their tokens."""
    _print(read_devices(_file(settings_file)), as_json)


@devices.command()
@click.argument("name")
@settings_option("edge")
@json_option
@asynchronous
async def remove(name: str, settings_file: Path, as_json: bool) -> None:
    """Remove the device NAME; its stored values stay."""
    _print([remove_device(_file(settings_file), name)], as_json)


def _file(settings_file: Path) -> Path:
    file = load_settings(settings_file).devices_file
    if file is None:
        raise InvalidSettings(f"{settings_file}: set devices_file to a path first")
    return file


def _print(found: list[Device] | tuple[Device, ...], as_json: bool) -> None:
    rows = [
        {"name": device.name, "id": device.id, "profile": device.profile, "token": device.token}
        for device in found
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(("name", "id", "profile", "token"), (row.values() for row in rows))
