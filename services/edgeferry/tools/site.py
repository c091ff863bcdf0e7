"""Composes the process of a site: everything it runs, in one visible function per role.

``edgeferry site`` runs all of it in one process; ``rules``, ``gateway``, ``sync`` and
``api`` run a part, so that each can have its own Deployment on a cluster.
"""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from edgeferry.api.app import build_api
from edgeferry.api.auth import open_auth
from edgeferry.api.context import ApiContext
from edgeferry.core.chain import Chain
from edgeferry.core.clock import Clock, Stamps, SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.core.ids import MessageIds
from edgeferry.core.store import Store
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.devices import Devices
from edgeferry.gateway.http import http_routes
from edgeferry.gateway.metrics import PrometheusGatewayMetrics
from edgeferry.gateway.server import Gateway
from edgeferry.log.open import open_log
from edgeferry.log.port import Log
from edgeferry.log.topics import site_topic
from edgeferry.rules.loader import load_chain
from edgeferry.rules.processor import RuleSite, input_topic, rule_processors
from edgeferry.rules.registry import NODES
from edgeferry.runtime.health import HealthBoard
from edgeferry.runtime.http import HttpServer
from edgeferry.runtime.logging import configure_logging
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.probes import Probes, process_app
from edgeferry.runtime.process import run_process
from edgeferry.runtime.service import Service
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.store import open_store
from edgeferry.streams.open import open_transport
from edgeferry.streams.processor import Processor
from edgeferry.streams.runner import Runner
from edgeferry.streams.worker import Environment
from edgeferry.sync.cloud import CloudSync
from edgeferry.sync.edge import EdgeSync, EdgeSyncParts
from edgeferry.sync.inbox import Received
from edgeferry.sync.intake import Intake
from edgeferry.sync.lanes import UP
from edgeferry.sync.outbox import Outbox, TopicLog
from edgeferry.sync.sessions import CloudSyncParts
from edgeferry.tools.options import load_root_chain, settings_option
from edgeferry.tools.site_parts import (
    CloudShow,
    EdgeShow,
    LagWatch,
    LogPart,
    ReadyFile,
    StorePart,
    SyncShow,
    Trim,
)
from edgeferry.tools.topics import wanted_topics

ALL_NODES = "*"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this process runs. nodes: names of rule nodes, ``ALL_NODES``, or none;
    chain: name or file of theirs, empty for the site's root chain."""

    nodes: tuple[str, ...] = ()
    chain: str = ""
    gateway: bool = False
    sync: bool = False
    api: bool = False


WHOLE = Wanted(nodes=(ALL_NODES,), gateway=True, sync=True, api=True)


@dataclass(frozen=True, slots=True)
class Shared:
    """What the services of one process share, built once."""

    settings: Settings
    chain: Chain
    is_root: bool
    clock: Clock
    registry: CollectorRegistry
    metrics: Metrics
    log: Log
    store: Store
    board: HealthBoard
    slot: str | None

    @property
    def site(self) -> str:
        return self.settings.site

    def rule_processors(self, nodes: tuple[str, ...]) -> list[Processor]:
        """Raises InvalidSettings for a node that the chain has not."""
        unknown = sorted(set(nodes) - {ALL_NODES} - set(self.chain.nodes))
        if unknown:
            raise InvalidSettings(
                f"chain {self.chain.name} has no node {', '.join(unknown)}; "
                f"it has {', '.join(self.chain.nodes)}"
            )
        site = RuleSite(
            site=self.site,
            ports={"timeseries": self.store.timeseries, "attributes": self.store.attributes},
            max_record_bytes=self.log.writer.max_record_bytes,
            ended=self.metrics.ended,
        )
        chosen = None if ALL_NODES in nodes else nodes
        return rule_processors(self.chain, NODES, site, root=self.is_root, nodes=chosen)

    def runner(self, processors: Sequence[Processor]) -> Runner:
        transport, transactions = open_transport(self.log, self.slot)
        environment = Environment(
            site=self.site, writer=self.log.writer, clock=self.clock, transactions=transactions
        )
        return Runner(processors, transport, environment, self.metrics)

    def received(self) -> Received:
        return Received(
            site=self.site, reader=self.log.reader, positions=self.store.positions, clock=self.clock
        )

    def log_and_store(self) -> list[Service]:
        return [StorePart(self.store), LogPart(self.log)]


def share(settings: Settings, chosen: str, board: HealthBoard, slot: str | None) -> Shared:
    """``chosen``: a chain's name or file, empty for the root chain. Raises InvalidChain."""
    root = load_root_chain(settings)
    chain = load_chain(chosen, settings.role) if chosen else root
    clock = SystemClock()
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    return Shared(
        settings=settings,
        chain=chain,
        is_root=chain.name == root.name,
        clock=clock,
        registry=registry,
        metrics=metrics,
        log=open_log(settings=settings.log, data=settings.data, clock=clock),
        store=open_store(
            settings=settings.store,
            data=settings.data,
            clock=clock,
            metrics=metrics.store(settings.store.kind),
        ),
        board=board,
        slot=slot,
    )


async def edge_site(shared: Shared, wanted: Wanted) -> list[Service]:
    """Raises InvalidSettings."""
    services = shared.log_and_store()
    if wanted.nodes:
        services.append(shared.runner(shared.rule_processors(wanted.nodes)))
    if wanted.sync:
        services.append(_trim(shared))
        sync = EdgeSync(
            settings=shared.settings.sync,
            parts=EdgeSyncParts(
                outboxes=[_outbox(shared, lane) for lane in UP],
                received=shared.received(),
                writer=shared.log.new_writer,
            ),
        )
        services += [sync, SyncShow(EdgeShow(sync, shared.metrics))]
    return services + _front(shared, wanted)


async def cloud_site(shared: Shared, wanted: Wanted) -> list[Service]:
    """Raises InvalidSettings."""
    services = shared.log_and_store()
    processors = shared.rule_processors(wanted.nodes)
    if wanted.sync:
        processors.insert(
            0,
            Intake(
                site=shared.site,
                tenant_id=shared.settings.tenant_id,
                reader=shared.log.reader,
                positions=shared.store.positions,
                clock=shared.clock,
            ),
        )
    if processors:
        services.append(shared.runner(processors))
    if wanted.sync:
        lag = LagWatch(shared.log.topics, _readers(shared))
        sync = CloudSync(
            settings=shared.settings.sync,
            parts=CloudSyncParts(
                received=shared.received(), writer=shared.log.new_writer, lag=lambda: lag.total
            ),
        )
        services += [lag, _trim(shared), sync, SyncShow(CloudShow(sync, shared.metrics))]
    return services + _front(shared, wanted)


def _outbox(shared: Shared, lane: str) -> Outbox:
    topic = site_topic(shared.site, lane)
    log = TopicLog(
        shared.log.reader,
        topic=topic,
        group=f"{shared.site}.sync",
        topic_id=shared.log.topics.topic_id,
    )
    return Outbox(lane=lane, log=log, positions=shared.store.positions, stream=f"outbox/{lane}")


def _readers(shared: Shared) -> dict[str, list[str]]:
    """Group -> topics, of the sync's reader (outbox or intake) and all nodes of the chain."""
    groups = {
        topic: [topic]
        for node in shared.chain.nodes
        for topic in [input_topic(shared.site, shared.chain, node, root=shared.is_root)]
    }
    lanes = [site_topic(shared.site, lane) for lane in UP]
    sync = "intake" if shared.settings.role == "cloud" else "sync"
    return {f"{shared.site}.{sync}": lanes, **groups}


def _trim(shared: Shared) -> Trim:
    keep = shared.settings.log.keep_seconds
    return Trim(shared.log.topics, _readers(shared), shared.clock, keep)


def _front(shared: Shared, wanted: Wanted) -> list[Service]:
    """What listens for devices and people, started last and stopped first."""
    settings, front = shared.settings, list[Service]()
    routes: Sequence[BaseRoute] = ()
    rest: ASGIApp | None = None
    if wanted.gateway:
        gateway = Gateway(
            _gateway_context(shared), host=settings.mqtt.host, port=settings.mqtt.port
        )
        front.append(gateway)
        routes = http_routes(gateway)
    if wanted.api:
        rest = build_api(_api_context(shared))
    probes = Probes(
        health=shared.board.overall,
        metrics=shared.metrics,
        read_token=settings.api.read_token.get_secret_value(),
    )
    app = process_app(probes, device_routes=routes, rest=rest)
    return [*front, HttpServer(app, settings.http)]


def _gateway_context(shared: Shared) -> GatewayContext:
    settings = shared.settings
    return GatewayContext(
        site=shared.site,
        tenant_id=settings.tenant_id,
        writer=shared.log.writer,
        devices=Devices(settings.devices_file),
        clock=shared.clock,
        stamps=Stamps(shared.clock.now_ms),
        ids=MessageIds(),
        limits=settings.limits,
        metrics=PrometheusGatewayMetrics(shared.registry),
    )


def _api_context(shared: Shared) -> ApiContext:
    settings = shared.settings
    opened = open_auth(
        settings.data,
        settings.api,
        shared.clock,
        tenant_id=settings.tenant_id,
        admin_password=os.environ.get("EDGEFERRY_ADMIN_PASSWORD"),
    )
    if opened.administrator.password is not None:
        click.echo(
            f"administrator {opened.administrator.username}, password "
            f"{opened.administrator.password} (kept in {opened.administrator.password_file})",
            err=True,
        )
    return ApiContext(
        store=shared.store,
        auth=opened.auth,
        clock=shared.clock,
        topics={topic.name: topic.value for topic in wanted_topics(settings)},
        read_token=settings.api.read_token.get_secret_value(),
    )


def run_site(file: Path | None, wanted: Wanted, slot: str | None, ready_file: Path | None) -> int:
    """Run until a signal; the exit code (``runtime.process``). file: the site's settings."""
    board = HealthBoard()

    async def build() -> Sequence[Service]:
        settings = load_settings(file)
        configure_logging(settings.log_level, SystemClock())
        shared = share(settings, wanted.chain, board, slot)
        compose = edge_site if settings.role == "edge" else cloud_site
        services = await compose(shared, wanted)
        if ready_file is not None:
            others = list(services)
            services.append(ReadyFile(ready_file, others, lambda: _ready(settings, others)))
        return services

    return run_process(build, board)


def _ready(settings: Settings, services: Sequence[Service]) -> dict[str, object]:
    http = next(service for service in services if isinstance(service, HttpServer))
    host, port = http.address
    return {
        "ready": True,
        "role": settings.role,
        "site": settings.site,
        "pid": os.getpid(),
        "http": f"{host}:{port}",
        "services": [service.name for service in services],
    }


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
            sys.exit(run_site(settings_file, wanted(**options), slot or None, ready_file))

        return click.command(name, help=text)(run)

    return decorate


@_command("site", "Run all services of a site in this process.")
def site() -> Wanted:
    return WHOLE


@_command("rules", "Run rule nodes of a site, each its own stream processor.")
@click.option("--chain", help="Its name or file.  [default: the site's root chain]")
@click.option("--node", "nodes", multiple=True, help="A rule node; may be given again.")
@click.option("--all", "every", is_flag=True, help="All nodes of the chain.")
def rules(chain: str | None, nodes: tuple[str, ...], every: bool) -> Wanted:
    if every == bool(nodes):
        raise click.UsageError("say which rule nodes: --node NODE, or --all")
    return Wanted(nodes=(ALL_NODES,) if every else nodes, chain=chain or "")


@_command("gateway", "Run the device gateway of a site: MQTT and HTTP.")
def gateway() -> Wanted:
    return Wanted(gateway=True)


@_command("sync", "Run the sync link of a site; in the Cloud with the intake.")
def sync() -> Wanted:
    return Wanted(sync=True)


@_command("api", "Run the REST interface of a site.")
def api() -> Wanted:
    return Wanted(api=True)
