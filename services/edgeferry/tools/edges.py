"""``edgeferry edges``: the edges that the Cloud admits."""

from pathlib import Path

import click

from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import load_settings
from edgeferry.sync.edges import Edges, add_edge
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table


@click.group()
def edges() -> None:
    """The edges that the Cloud admits: add, list."""


@edges.command()
@click.argument("name")
@settings_option("cloud")
@json_option
@asynchronous
async def add(name: str, settings_file: Path, as_json: bool) -> None:
    """Admit an edge named NAME. Its secret is shown now and kept nowhere."""
    edge, secret = add_edge(_file(settings_file), name)
    if as_json:
        print_json({"id": edge.id, "name": edge.name, "key": edge.key, "secret": secret})
        return
    print_table(("id", "name", "key"), [(edge.id, edge.name, edge.key)])
    click.echo(f"secret (shown once, for the file sync.edge_secret_file of the Edge): {secret}")


@edges.command("list")
@settings_option("cloud")
@json_option
@asynchronous
async def list_edges(settings_file: Path, as_json: bool) -> None:
    """All edges."""
    rows = [
        {"id": edge.id, "name": edge.name, "key": edge.key}
        for edge in Edges(_file(settings_file)).all()
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(("id", "name", "key"), (row.values() for row in rows))


def _file(settings_file: Path) -> Path:
    file = load_settings(settings_file).sync.edges_file
    if file is None:
        raise InvalidSettings(f"{settings_file}: set sync.edges_file to a path first")
    return file
