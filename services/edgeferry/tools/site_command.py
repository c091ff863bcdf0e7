"""``edgeferry site`` runs all of a site in one process; ``rules``, ``attributes``, ``gateway``,
``sync`` and ``api`` run a part, so that each can have its own Deployment on a cluster."""

import functools
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from edgeferry.runtime.settings import Settings
from edgeferry.tools.move_plan import check_not_moved
from edgeferry.tools.options import settings_option
from edgeferry.tools.ready import Ready, ready_file
from edgeferry.tools.site_wanted import ALL_NODES, WHOLE, Wanted, check_parts


def run_site(
    settings: Callable[[], Settings],
    wanted: Wanted,
    slot: str | None,
    announce: Callable[[Ready], Callable[[], None]] | None = None,
) -> int:
    """Run until a signal; the exit code (``runtime.process``).

    announce: called when all services are ready; what it returns is called at the stop."""
    # All of a site takes a second to import: not for `--help`, nor for a wrong option; and a
    # tenth more while the collector looks again and again at what stays anyway.
    gc.set_threshold(50_000, 20, 100)
    from edgeferry.core.clock import SystemClock
    from edgeferry.files.private import make_private
    from edgeferry.runtime.health import HealthBoard
    from edgeferry.runtime.logging import configure_logging
    from edgeferry.runtime.process import run_process
    from edgeferry.runtime.service import Service
    from edgeferry.tools.site import cloud_site, edge_site
    from edgeferry.tools.site_parts import WhenReady
    from edgeferry.tools.site_shared import share

    board = HealthBoard()

    async def build() -> Sequence[Service]:
        chosen = settings()
        check_parts(chosen, wanted)
        check_not_moved(chosen)
        make_private(chosen.data)
        configure_logging(chosen.log_level, SystemClock())
        shared = share(chosen, board, slot)
        compose = edge_site if chosen.role == "edge" else cloud_site
        services = await compose(shared, wanted)
        if announce is not None:
            services.append(WhenReady(list(services), chosen, announce))
        return services

    return run_process(build, board)


def _command(name: str, text: str) -> Callable[[Callable[..., Wanted]], click.Command]:
    """A command whose function says what to run."""

    def decorate(wanted: Callable[..., Wanted]) -> click.Command:
        @settings_option("edge")
        @click.option(
            "--ready-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Written when all services are ready.",
        )
        @click.option(
            "--slot",
            envvar="EDGEFERRY_SLOT",
            help="Own name of a replica; restarted, it has its partitions back.  [default: none]",
        )
        @functools.wraps(wanted)
        def run(
            settings_file: Path, ready_file: Path | None, slot: str | None, **options: Any
        ) -> None:
            sys.exit(_run(settings_file, wanted(**options), slot or None, ready_file))

        return click.command(name, help=text)(run)

    return decorate


def _run(file: Path, wanted: Wanted, slot: str | None, ready: Path | None) -> int:
    from edgeferry.runtime.settings import load_settings

    if ready is not None:
        ready.unlink(missing_ok=True)
    announce = functools.partial(ready_file, ready) if ready is not None else None
    return run_site(lambda: load_settings(file), wanted, slot, announce)


@_command("site", "Run all services of a site in this process.")
def site() -> Wanted:
    return WHOLE


@_command("rules", "Run rule nodes of a site, each its own stream processor.")
@click.option("--chain", help="Its name.  [default: the root chain; with --all every one]")
@click.option("--node", "nodes", multiple=True, help="A rule node; may be given again.")
@click.option("--all", "every", is_flag=True, help="All nodes of the chain, or of all chains.")
def rules(chain: str | None, nodes: tuple[str, ...], every: bool) -> Wanted:
    if every == bool(nodes):
        raise click.UsageError("say which rule nodes: --node NODE, or --all")
    return Wanted(nodes=(ALL_NODES,) if every else nodes, chain=chain or "")


@_command("attributes", "Run the owner of a site's attributes, entities and commands.")
def attributes() -> Wanted:
    return Wanted(attributes=True)


@_command("gateway", "Run the device gateway of a site: MQTT and HTTP.")
def gateway() -> Wanted:
    return Wanted(gateway=True)


@_command("sync", "Run the sync link of a site; in the Cloud with the intake.")
def sync() -> Wanted:
    return Wanted(sync=True)


@_command("api", "Run the REST interface of a site.")
def api() -> Wanted:
    return Wanted(api=True)
