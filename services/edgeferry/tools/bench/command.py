"""``edgeferry bench``: benchmarks and the crash test, on servers of their own."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import Stop
from edgeferry.tools.bench.crash import CrashPlan, crash, faults
from edgeferry.tools.bench.e2e import DEVICES, Offer, e2e
from edgeferry.tools.bench.hop import HopPlan, hop
from edgeferry.tools.bench.installation import Installation, running
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table
from edgeferry.tools.servers import LocalServers, ServerOptions

MAX = "max"

_servers_option = click.option(
    "--servers",
    type=click.Choice(["local"]),
    default="local",
    show_default=True,
    help="local: Kafka and Cassandra are started here, in a folder of their own.",
)
_data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for all state, kept afterwards.  [default: a temporary one]",
)
_devices_option = click.option(
    "--devices", type=click.IntRange(min=1), default=DEVICES, show_default=True
)
_chain_option = click.option("--chain-cloud", help="The Cloud's root chain.")


class Rate(click.ParamType):
    """Messages per second, or the word max (None)."""

    name = "RATE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str:
        if value == MAX:
            return MAX
        with contextlib.suppress(ValueError):
            rate = float(value)
            if rate > 0:
                return rate
        self.fail(f"{value!r} is no rate: give messages per second above 0, or {MAX}", param)


@click.group()
def bench() -> None:
    """Measure, and prove that nothing is lost. The last line is the result."""


@bench.command("hop")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="About so long, at the rate expected.",
)
@click.option("--partitions", type=click.IntRange(1, 100), default=12, show_default=True)
@_servers_option
@_data_option
@json_option
@asynchronous
async def hop_command(
    seconds: float, partitions: int, servers: str, data: Path | None, as_json: bool
) -> None:
    """One rule node on Kafka: decode, process, encode, produce, delivered, committed."""
    with _folder(data) as folder:
        kafka = LocalServers(folder, options=ServerOptions(tied=True, say=_say)).kafka
        try:
            await kafka.start()
            plan = HopPlan(kafka.address or "", seconds, partitions)
            _print(await hop(plan, SystemClock()), as_json)
        finally:
            await kafka.stop()


@bench.command("e2e")
@click.option(
    "--rate",
    type=Rate(),
    default="200",
    show_default=True,
    help="Messages per second, or max: as fast as the Cloud stores them.",
)
@click.option("--seconds", type=click.FloatRange(min=1), default=30.0, show_default=True)
@click.option(
    "--warmup",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Seconds of the same load before, not measured.",
)
@_devices_option
@_chain_option
@_servers_option
@_data_option
@json_option
@asynchronous
async def e2e_command(
    rate: float | str,
    seconds: float,
    warmup: float,
    devices: int,
    chain_cloud: str | None,
    servers: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """Devices publish at the Edge by MQTT QoS 1; counted and timed in the Cloud's Cassandra."""
    offer = Offer(None if rate == MAX else float(rate), seconds, warmup)
    async with _installed(data, devices, chain_cloud) as installation:
        _print(await e2e(installation, offer, SystemClock()), as_json)


@bench.command("crash")
@click.option("--minutes", type=click.FloatRange(min=0.1), default=2.0, show_default=True)
@click.option("--rate", type=click.FloatRange(min=1), default=500.0, show_default=True)
@click.option(
    "--kill",
    "roles",
    multiple=True,
    default=("edge", "cloud"),
    show_default=True,
    type=click.Choice(["edge", "cloud", "kafka", "cassandra"]),
    help="Whom to kill; may be given again.",
)
@click.option("--seed", default=1, show_default=True, help="The same kills again.")
@_devices_option
@_chain_option
@_servers_option
@_data_option
@json_option
@asynchronous
async def crash_command(
    minutes: float,
    rate: float,
    roles: tuple[str, ...],
    seed: int,
    devices: int,
    chain_cloud: str | None,
    servers: str,
    data: Path | None,
    as_json: bool,
) -> None:
    """SIGKILL at random under load; every acknowledged message must then be stored."""
    plan = CrashPlan(rate=rate, seconds=minutes * 60, roles=roles, seed=seed)
    async with _installed(data, devices, chain_cloud) as installation:
        line = await crash(installation, plan, SystemClock())
    _print(line, as_json)
    if wrong := faults(line):
        raise Stop(f"the stored messages are not those acknowledged: {', '.join(wrong)}")


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="edgeferry-bench-") as made:
        yield Path(made)


@contextlib.asynccontextmanager
async def _installed(
    data: Path | None, devices: int, chain_cloud: str | None
) -> AsyncIterator[Installation]:
    options = ("--chain-cloud", chain_cloud) if chain_cloud else ()
    with _folder(data) as folder:
        async with running(folder.resolve(), devices, options) as installation:
            yield installation


def _print(line: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        print_json(line)
    else:
        print_table(("figure", str(line["name"])), list(line.items())[1:])


def _say(line: str) -> None:
    click.echo(line, err=True)
