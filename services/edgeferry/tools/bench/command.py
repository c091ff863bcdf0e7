"""``edgeferry bench``: benchmarks, the crash test and the outage test, on servers of their own."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import click

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import Stop
from edgeferry.runtime.settings import KafkaSettings, LogSettings
from edgeferry.tools.bench.attributes import DownPlan, attributes
from edgeferry.tools.bench.both_ways import BothPlan
from edgeferry.tools.bench.choices import (
    KAFKA,
    MAX,
    SQLITE,
    Rate,
    chain_option,
    data_option,
    devices_option,
    folder,
    servers_option,
    shape_options,
    warmup_option,
)
from edgeferry.tools.bench.crash import CrashPlan, crash
from edgeferry.tools.bench.cut_link import How
from edgeferry.tools.bench.e2e import e2e
from edgeferry.tools.bench.examination import faults
from edgeferry.tools.bench.hop import HopPlan, hop
from edgeferry.tools.bench.installation import EMBEDDED, Shape, running
from edgeferry.tools.bench.outage import OutagePlan, linked, outage
from edgeferry.tools.bench.tables import print_lines, print_samples
from edgeferry.tools.bench.trial import Offer
from edgeferry.tools.output import asynchronous, json_option
from edgeferry.tools.servers import LocalServers, ServerOptions

_KAFKA_PARTITIONS = 12
_WARMUP = {EMBEDDED: 3.0}
_SERVERS_WARMUP = 30.0
"""The JVMs compile what is used."""


@click.group()
def bench() -> None:
    """Measure, and prove that nothing is lost. The last line is the result, as JSON."""


@bench.command("hop")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    help="About so long, at the rate expected.",
)
@click.option(
    "--log",
    "kinds",
    multiple=True,
    type=click.Choice([SQLITE, KAFKA]),
    help="Which log; may be given twice.  [default: both, one after the other]",
)
@click.option(
    "--partitions", type=click.IntRange(1, 100), help="[default: 12 on Kafka, 1 on SQLite]"
)
@servers_option
@data_option
@json_option
@asynchronous
async def hop_command(
    seconds: float,
    kinds: tuple[str, ...],
    partitions: int | None,
    servers: tuple[str, ...],
    data: Path | None,
    as_json: bool,
) -> None:
    """One rule node: decode, process, encode, append, durable, committed.

    Kafka is measured last."""
    wanted = kinds or ((SQLITE,) if servers == (EMBEDDED,) else (SQLITE, KAFKA))
    lines = []
    with folder(data) as place:
        for kind in (kind for kind in (SQLITE, KAFKA) if kind in wanted):
            count = partitions or (_KAFKA_PARTITIONS if kind == KAFKA else 1)
            async with _log(kind, place) as log:
                plan = HopPlan(log, place, seconds, count)
                lines.append(await hop(plan, SystemClock()))
    print_lines(lines, as_json, head="log")


@contextlib.asynccontextmanager
async def _log(kind: str, place: Path) -> AsyncIterator[LogSettings]:
    if kind == SQLITE:
        yield LogSettings(kind="sqlite")
        return
    server = LocalServers(place, options=ServerOptions(tied=True, say=_say)).kafka
    try:
        await server.start()
        yield LogSettings(kind="kafka", kafka=KafkaSettings(bootstrap=server.address or ""))
    finally:
        await server.stop()


@bench.command("e2e")
@click.option(
    "--rate",
    type=Rate(),
    default="200",
    show_default=True,
    help="Messages per second, or max: as fast as the Cloud stores them.",
)
@click.option("--seconds", type=click.FloatRange(min=1), default=30.0, show_default=True)
@warmup_option
@devices_option
@chain_option
@shape_options
@data_option
@json_option
@asynchronous
async def e2e_command(
    rate: float | str,
    seconds: float,
    warmup: float | None,
    devices: int,
    chain_cloud: str | None,
    shapes: list[Shape],
    data: Path | None,
    as_json: bool,
) -> None:
    """Devices publish at the Edge by MQTT QoS 1; counted and timed in the Cloud's store."""
    lines = []
    for shape in shapes:
        _tell(shape)
        offer = Offer(
            rate=None if rate == MAX else float(rate),
            seconds=seconds,
            warmup=_warmup(shape, warmup),
        )
        with _place(data, shape, shapes) as place:
            async with running(place, devices, _chain(chain_cloud), shape=shape) as installation:
                lines.append(await e2e(installation, offer, SystemClock()))
    print_lines(lines, as_json)


@bench.command("attributes")
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1),
    default=20.0,
    show_default=True,
    help="So many attributes and as many commands a second.",
)
@click.option("--seconds", type=click.FloatRange(min=1), default=30.0, show_default=True)
@warmup_option
@devices_option
@chain_option
@shape_options
@data_option
@json_option
@asynchronous
async def attributes_command(
    rate: float,
    seconds: float,
    warmup: float | None,
    devices: int,
    chain_cloud: str | None,
    shapes: list[Shape],
    data: Path | None,
    as_json: bool,
) -> None:
    """From REST in the Cloud to the devices behind the Edge: shared attributes until a device
    has them, two-way commands there and back."""
    lines = []
    for shape in shapes:
        _tell(shape)
        plan = DownPlan(rate=rate, seconds=seconds, warmup=_warmup(shape, warmup))
        with _place(data, shape, shapes) as place:
            async with running(place, devices, _chain(chain_cloud), shape=shape) as installation:
                lines.append(await attributes(installation, plan, SystemClock()))
    print_lines(lines, as_json)


@bench.command("crash")
@click.option("--minutes", type=click.FloatRange(min=0.1), default=5.0, show_default=True)
@click.option("--rate", type=click.FloatRange(min=1), default=1000.0, show_default=True)
@click.option(
    "--kills",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many, at random over the time.",
)
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
@click.option(
    "--traffic",
    type=click.Choice(["up", "both"]),
    default="up",
    show_default=True,
    help="both: attributes and commands go up and down, too, and both sites are compared.",
)
@devices_option
@chain_option
@shape_options
@data_option
@json_option
@asynchronous
async def crash_command(
    minutes: float,
    rate: float,
    kills: int,
    roles: tuple[str, ...],
    seed: int,
    traffic: str,
    devices: int,
    chain_cloud: str | None,
    shapes: list[Shape],
    data: Path | None,
    as_json: bool,
) -> None:
    """SIGKILL at random under load; every acknowledged message must then be stored. With
    traffic both ways, both sites must then hold the same attributes, and every command must
    have been carried out once, or have expired."""
    both = BothPlan(seed=seed) if traffic == "both" else None
    plan = CrashPlan(rate, minutes * 60, kills, roles, seed, both)
    lines = []
    for shape in shapes:
        _tell(shape)
        with _place(data, shape, shapes) as place:
            async with running(place, devices, _chain(chain_cloud), shape=shape) as installation:
                lines.append(await crash(installation, plan, SystemClock()))
    print_lines(lines, as_json)
    _refuse_faults(lines)
    for line in lines:
        if line["kills"] != kills:
            raise Stop(
                f"only {line['kills']} of {kills} kills fell into the time: give more --minutes"
            )


@bench.command("outage")
@click.option(
    "--messages",
    type=click.IntRange(min=1),
    default=200_000,
    show_default=True,
    help="So many arrive at the Edge while the link is cut.",
)
@click.option("--rate", type=click.FloatRange(min=1), default=3000.0, show_default=True)
@click.option(
    "--link",
    "how",
    type=click.Choice(["refused", "silent"]),
    default="refused",
    show_default=True,
    help="refused: connections end and are refused; silent: they stay, and nothing passes.",
)
@warmup_option
@devices_option
@chain_option
@shape_options
@data_option
@json_option
@asynchronous
async def outage_command(
    messages: int,
    rate: float,
    how: How,
    warmup: float | None,
    devices: int,
    chain_cloud: str | None,
    shapes: list[Shape],
    data: Path | None,
    as_json: bool,
) -> None:
    """The link is cut while messages arrive; then it is back, and all of them drain."""
    lines = []
    for shape in shapes:
        _tell(shape)
        plan = OutagePlan(messages, rate, _warmup(shape, warmup), how)
        with _place(data, shape, shapes) as place:
            async with linked(place, devices, _chain(chain_cloud), shape) as (installation, link):
                line, samples = await outage(installation, link, plan, SystemClock())
        if not as_json:
            print_samples(samples, shape.servers)
        lines.append(line)
    print_lines(lines, as_json)
    _refuse_faults(lines)


def _refuse_faults(lines: Sequence[Mapping[str, object]]) -> None:
    """Raises Stop."""
    if wrong := sorted({name for line in lines for name in faults(line)}):
        raise Stop(f"the stored messages are not those acknowledged: {', '.join(wrong)}")


def _warmup(shape: Shape, seconds: float | None) -> float:
    return _WARMUP.get(shape.servers, _SERVERS_WARMUP) if seconds is None else seconds


def _chain(name: str | None) -> tuple[str, ...]:
    return ("--chain-cloud", name) if name else ()


def _place(
    data: Path | None, shape: Shape, shapes: Sequence[Shape]
) -> contextlib.AbstractContextManager[Path]:
    """A folder of its own for each shape."""
    return folder(data / shape.servers if data and len(shapes) > 1 else data)


def _tell(shape: Shape) -> None:
    _say(f"starting an installation, {shape.servers}, to be measured")


def _say(line: str) -> None:
    click.echo(line, err=True)
