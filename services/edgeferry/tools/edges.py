"""``edgeferry edges``: the edges that the Cloud admits. A running Cloud takes changes at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import SyncSettings, load_settings
from edgeferry.sync.edges import Edge, Edges, add_edge, remove_edge, rotate_secret
from edgeferry.tools.dialled import Enrolment, dialled, pinned_fingerprint
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table
from edgeferry.tools.site_rest import SiteRest


@click.group()
def edges() -> None:
    """The edges that the Cloud admits: add, list, remove, rotate, status."""


@edges.command()
@click.argument("name")
@settings_option("cloud")
@json_option
@asynchronous
async def add(name: str, settings_file: Path, as_json: bool) -> None:
    """Admit an edge named NAME, and print the command that enrols it. Its secret is shown now
    and kept nowhere."""
    sync, file = _sync(settings_file)
    enrolled = _Enrolling(sync)
    enrolled.tell(*add_edge(file, name), as_json)


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
    how many went over it per second, lately."""
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
    """Admit the edge NAME no longer; its connection ends, what it has sent stays."""
    _, file = _sync(settings_file)
    removed = remove_edge(file, name)
    if as_json:
        print_json(_row(removed))
    else:
        click.echo(f"{removed.name} (key {removed.key}) is admitted no longer")


@edges.command()
@click.argument("name")
@settings_option("cloud")
@json_option
@asynchronous
async def rotate(name: str, settings_file: Path, as_json: bool) -> None:
    """Give the edge NAME a new secret, and print the command that it takes it by. The one
    before is good no longer: its connection ends."""
    sync, file = _sync(settings_file)
    enrolled = _Enrolling(sync)
    enrolled.tell(*rotate_secret(file, name), as_json)


class _Enrolling:
    """Made before anything is changed: a certificate that cannot be read changes nothing."""

    def __init__(self, sync: SyncSettings) -> None:
        """Raises InvalidSettings."""
        self._cloud, self._fingerprint = dialled(sync), pinned_fingerprint(sync)

    def tell(self, edge: Edge, secret: str, as_json: bool) -> None:
        enrolment = Enrolment(self._cloud, edge.key, secret, self._fingerprint)
        if as_json:
            print_json({**_row(edge), **enrolment._asdict(), "command": enrolment.command()})
            return
        click.echo(f"{edge.name} is admitted as {edge.id}. Run on its machine, this once:\n")
        click.echo(f"  {enrolment.command()}\n")
        click.echo("The secret in it is kept nowhere here.")


def _row(edge: Edge) -> dict[str, str]:
    return {"id": edge.id, "name": edge.name, "key": edge.key}


def _sync(settings_file: Path) -> tuple[SyncSettings, Path]:
    """Raises InvalidSettings."""
    sync = load_settings(settings_file).sync
    if sync.edges_file is None:
        raise InvalidSettings(f"{settings_file}: set sync.edges_file to a path first")
    return sync, sync.edges_file
