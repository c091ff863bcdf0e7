"""``edgeferry servers``: fetch, start, stop and look at the local Kafka and Cassandra."""

import asyncio
import sys
from pathlib import Path

import click

from edgeferry.tools.output import asynchronous, json_option, print_json
from edgeferry.tools.servers.cassandra import Cassandra
from edgeferry.tools.servers.jars import default_cache, fetch
from edgeferry.tools.servers.kafka import Kafka
from edgeferry.tools.servers.local import LocalServers
from edgeferry.tools.servers.server import LocalServer, ServerOptions

_NOT_ALL_ANSWER = 3

_data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder that holds all their state.",
)


@click.group()
def servers() -> None:
    """Run Kafka and Cassandra as processes of this machine, on free loopback ports."""


@servers.command("fetch")
@asynchronous
async def fetch_command() -> None:
    """Fetch their jars into the cache now; start does it when they are missing."""
    for kind in (Kafka(), Cassandra()):
        folder = await fetch(kind.name, kind.title, default_cache(), _say)
        click.echo(f"{kind.title} is in {folder}")


@servers.command()
@_data_option
@click.option("--cassandra-heap", default="1G", show_default=True, help="Java's heap size.")
@json_option
@asynchronous
async def start(data: Path, cassandra_heap: str, as_json: bool) -> None:
    """Start those that do not run; return when both answer."""
    both = LocalServers(data, cassandra_heap=cassandra_heap, options=ServerOptions(say=_say))
    await both.start()
    await _print_status(both, as_json)


@servers.command()
@_data_option
@json_option
@asynchronous
async def stop(data: Path, as_json: bool) -> None:
    """Stop both in order; their data stays."""
    both = LocalServers(data)
    await both.stop()
    await _print_status(both, as_json)


@servers.command()
@_data_option
@json_option
@asynchronous
async def status(data: Path, as_json: bool) -> None:
    """Their addresses and process ids; exit code 3 unless both answer."""
    if not await _print_status(LocalServers(data), as_json):
        sys.exit(_NOT_ALL_ANSWER)


async def _print_status(both: LocalServers, as_json: bool) -> bool:
    answering = await asyncio.gather(*(server.answers() for server in both.all))
    found = dict(zip(both.all, answering, strict=True))
    if as_json:
        print_json({server.name: _facts(server, ok) for server, ok in found.items()})
    else:
        for server, ok in found.items():
            state = "stopped" if server.pid is None else "answers" if ok else "does not answer"
            click.echo(
                f"{server.name:10} {state:16} {server.address or '-':22} "
                f"process {server.pid or '-'}  log {server.log}"
            )
    return all(answering)


def _facts(server: LocalServer, answers: bool) -> dict[str, object]:
    return {
        "address": server.address,
        "pid": server.pid,
        "answers": answers,
        "log": str(server.log),
    }


def _say(line: str) -> None:
    click.echo(line, err=True)
