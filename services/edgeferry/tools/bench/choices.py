"""Options that several benchmarks share, and what they choose."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeferry.tools.bench.installation import EMBEDDED, LOCAL, Shape
from edgeferry.tools.bench.trial import DEVICES

F = TypeVar("F", bound=Callable[..., Any])

MAX = "max"
SQLITE, KAFKA = "sqlite", "kafka"
_LOGS, _STORES = (SQLITE, KAFKA), (SQLITE, "cassandra")
_SITE_CHOICES = {
    "edge_log": _LOGS,
    "edge_store": _STORES,
    "cloud_log": _LOGS,
    "cloud_store": _STORES,
}

servers_option = click.option(
    "--servers",
    multiple=True,
    type=click.Choice([EMBEDDED, LOCAL]),
    help="embedded: everything on SQLite; local: Kafka and Cassandra are started here, in a "
    "folder of their own. Given twice, both are measured, one after the other.",
)
data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for all state, kept afterwards.  [default: a temporary one]",
)
devices_option = click.option(
    "--devices", type=click.IntRange(min=1), default=DEVICES, show_default=True
)
chain_option = click.option("--chain-cloud", help="The Cloud's root chain.")
warmup_option = click.option(
    "--warmup",
    type=click.FloatRange(min=0),
    help="Seconds of the same load before, not measured.  [default: 3 embedded, else 30]",
)


class Rate(click.ParamType):
    """Messages per second, or the word max."""

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


def shape_options(command: F) -> F:
    """``--servers``, ``--log``, ``--store`` and those of one site; the command gets
    ``shapes``, at least one."""

    @wraps(command)
    def run(**options: Any) -> Any:
        given = {name: options.pop(name) for name in ("servers", "log", "store", *_SITE_CHOICES)}
        return command(shapes=chosen(**given), **options)

    decorated: Any = run
    for name, kinds in reversed(_SITE_CHOICES.items()):
        option = click.option(f"--{name.replace('_', '-')}", type=click.Choice(kinds), hidden=True)
        decorated = option(decorated)
    for option in (
        click.option(
            "--store",
            type=click.Choice(_STORES),
            help="The Cloud's store; sqlite: the Edge's too.  [default: as --servers has it]",
        ),
        click.option(
            "--log",
            type=click.Choice(_LOGS),
            help="Of both sites; --edge-log, --edge-store, --cloud-log and --cloud-store "
            "choose for one.  [default: as --servers has it: local has the Edge on SQLite]",
        ),
        servers_option,
    ):
        decorated = option(decorated)
    typed: F = decorated
    return typed


def chosen(
    *,
    servers: tuple[str, ...] = (),
    log: str | None = None,
    store: str | None = None,
    **of_site: str | None,
) -> list[Shape]:
    """Without ``servers``: embedded where the Cloud wants no server, else local.

    Raises UsageError."""
    wanted = {
        "edge_log": of_site.get("edge_log") or log,
        "edge_store": of_site.get("edge_store") or (SQLITE if store == SQLITE else None),
        "cloud_log": of_site.get("cloud_log") or log,
        "cloud_store": of_site.get("cloud_store") or store,
    }
    if not servers:
        no_server = wanted["cloud_log"] == wanted["cloud_store"] == SQLITE
        servers = (EMBEDDED if no_server and wanted["edge_log"] in (None, SQLITE) else LOCAL,)
    real = [kind for kind in wanted.values() if kind not in (None, SQLITE)]
    if EMBEDDED in servers and real:
        raise click.UsageError(f"--servers embedded has no {real[0]}: give --servers local for it")
    return [Shape(name, **wanted) for name in dict.fromkeys(servers)]


@contextlib.contextmanager
def folder(data: Path | None) -> Iterator[Path]:
    """``data``, or a temporary one that is deleted at the end."""
    if data is not None:
        data.mkdir(parents=True, exist_ok=True)
        yield data.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="edgeferry-bench-") as made:
        yield Path(made).resolve()
