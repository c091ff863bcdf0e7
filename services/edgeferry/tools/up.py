"""``edgeferry up``: an Edge and a Cloud on this machine by one command, with servers where
they are wanted."""

from pathlib import Path
from typing import Any

import click

from edgeferry.core.clock import SystemClock
from edgeferry.tools.data_folder import DEFAULT_PORTS, held
from edgeferry.tools.options import log_option, store_option
from edgeferry.tools.output import asynchronous, json_option
from edgeferry.tools.shape import asked_of_up
from edgeferry.tools.up_run import RUNNING_FILE, Up, UpOptions

__all__ = ["RUNNING_FILE", "up"]

_PARTS = ("cloud_log", "cloud_store", "edge_log", "edge_store", "kafka", "cassandra")


def _port_options(command: Any) -> Any:
    for option, default in reversed(list(DEFAULT_PORTS.items())):
        command = click.option(
            f"--{option}",
            type=click.IntRange(0, 65535),
            help="Port; 0 takes a free one.  [default: that of the last start, or "
            f"{default}, or a free one]",
        )(command)
    return command


@click.command()
@click.option(
    "--servers",
    type=click.Choice(["embedded", "local"]),
    help="embedded: nothing but the Edge and the Cloud, on SQLite. local: Kafka and Cassandra "
    "are started here for the Cloud, as processes of this machine.  "
    "[default: as the folder was started before, or embedded]",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Folder that holds all state; a second start goes on with it.",
)
@click.option("--devices", type=click.IntRange(1, 10_000), default=4, show_default=True)
@click.option("--chain-cloud", help="The Cloud's root chain: a name or a file.")
@click.option("--chain-edge", help="The Edge's root chain: a name or a file.")
@log_option("--cloud-log", "The Cloud's log.")
@store_option("--cloud-store", "The Cloud's store.")
@log_option("--edge-log", "The Edge's log.")
@store_option("--edge-store", "The Edge's store.")
@click.option("--kafka", metavar="HOST:PORT", help="A Kafka that runs, for what is on Kafka.")
@click.option(
    "--cassandra", metavar="HOST:PORT", help="A Cassandra that runs, for what is on Cassandra."
)
@_port_options
@json_option
@asynchronous
async def up(
    servers: str | None,
    data: Path,
    devices: int,
    chain_cloud: str | None,
    chain_edge: str | None,
    as_json: bool,
    **others: Any,
) -> None:
    """Run an Edge and a Cloud until Ctrl-C. Without options nothing else is needed: both keep
    their state in SQLite files below the data folder."""
    parts = {name: others.pop(name) for name in _PARTS}
    options = UpOptions(
        data=data.resolve(),
        asked=asked_of_up(servers, parts),
        ports={name.replace("_", "-"): port for name, port in others.items()},
        chains={"cloud": chain_cloud, "edge": chain_edge},
        devices=devices,
        as_json=as_json,
    )
    with held(options.data):
        await Up(options, SystemClock()).run()
