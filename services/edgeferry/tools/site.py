"""Composes the process of a site: everything it runs, in one visible function per role."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import click
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from edgeferry.api.app import build_api
from edgeferry.api.auth import open_auth
from edgeferry.api.context import ApiContext
from edgeferry.core.admission import LANES, Admission
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
from edgeferry.gateway.stamps import StampKeeper
from edgeferry.log.open import open_log
from edgeferry.log.port import Log
from edgeferry.log.topics import site_topic
from edgeferry.rules.loader import load_chain
from edgeferry.rules.processor import RuleSite, input_topic, rule_processors
from edgeferry.rules.registry import NODES
from edgeferry.runtime.connection_bound import Bounds
from edgeferry.runtime.file_limit import connections_allowed
from edgeferry.runtime.health import HealthBoard
from edgeferry.runtime.http import HttpLimits, HttpServer
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.probes import Probes, process_app
from edgeferry.runtime.service import Service
from edgeferry.runtime.settings import Settings
from edgeferry.store import open_store
from edgeferry.streams.open import open_transport
from edgeferry.streams.processor import Processor
from edgeferry.streams.runner import Runner
from edgeferry.streams.worker import Environment
from edgeferry.sync.cloud import CloudSync
from edgeferry.sync.edge import Backoff, EdgeSync, EdgeSyncParts
from edgeferry.sync.inbox import Received
from edgeferry.sync.intake import Intake
from edgeferry.sync.lanes import UP
from edgeferry.sync.outbox_watch import WatchParts
from edgeferry.sync.sessions import CloudSyncParts
from edgeferry.tools.options import load_root_chain
from edgeferry.tools.site_outbox import (
    disk_watch,
    outbox_lookout,
    outbox_route,
    outbox_watch,
    outboxes,
)
from edgeferry.tools.site_parts import (
    CloudShow,
    EdgeShow,
    LagWatch,
    LogPart,
    StorePart,
    SyncShow,
    Trim,
)
from edgeferry.tools.site_wanted import ALL_NODES, Wanted
from edgeferry.tools.topics import wanted_topics

log = logging.getLogger(__name__)

_HTTP_CONNECTIONS = 10_000
_FIRST_REDIAL_SECONDS = 0.1
"""Edge and Cloud of one machine start at the same time: the Cloud may listen a moment later."""


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
    admission: Admission

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
            site=self.site,
            reader=self.log.reader,
            positions=self.store.positions,
            clock=self.clock,
            dead_lettered=lambda lane: self.metrics.lane(lane).dead(1),
        )

    def log_and_store(self, wanted: Wanted) -> list[Service]:
        own = self.settings.log.kind == "sqlite"
        log = LogPart(self.log, wanted_topics(self.settings) if own else ())
        return [StorePart(self.store), log] if wanted.store else [log]


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
        admission=Admission(),
    )


async def edge_site(shared: Shared, wanted: Wanted) -> list[Service]:
    """Raises InvalidSettings."""
    services = shared.log_and_store(wanted)
    if wanted.nodes:
        services.append(shared.runner(shared.rule_processors(wanted.nodes)))
    settings, watch = shared.settings, None
    room = WatchParts(admission=shared.admission, clock=shared.clock, metrics=shared.metrics)
    if wanted.sync:
        services.append(_trim(shared))
        lanes = outboxes(settings, shared.log, shared.store.positions)
        watch = outbox_watch(settings, lanes, room)
        sync = EdgeSync(
            settings=settings.sync,
            parts=EdgeSyncParts(
                outboxes=lanes,
                received=shared.received(),
                writer=shared.log.new_writer,
                backoff=Backoff(first=_FIRST_REDIAL_SECONDS),
            ),
        )
        services += [sync, watch, SyncShow(EdgeShow(sync, shared.metrics))]
    elif wanted.gateway:
        watch = outbox_lookout(settings, shared.log, room)
        services.append(watch)
    token = settings.api.read_token.get_secret_value()
    shown = [outbox_route(watch, shared.admission, shared.clock, token)] if watch else []
    return services + _front(shared, wanted, shown)


async def cloud_site(shared: Shared, wanted: Wanted) -> list[Service]:
    """Raises InvalidSettings."""
    services = shared.log_and_store(wanted)
    processors = shared.rule_processors(wanted.nodes)
    intake = Intake(
        site=shared.site,
        tenant_id=shared.settings.tenant_id,
        reader=shared.log.reader,
        positions=shared.store.positions,
        clock=shared.clock,
    )
    if wanted.sync:
        processors.insert(0, intake)
    if processors:
        services.append(shared.runner(processors))
    if wanted.sync:
        lag = LagWatch(shared.log.topics, _readers(shared))
        sync = CloudSync(
            settings=shared.settings.sync,
            parts=CloudSyncParts(
                received=shared.received(),
                writer=shared.log.new_writer,
                lag=lambda: lag.total,
                full=lambda: _no_room(shared.admission),
            ),
        )
        services += [lag, _trim(shared), sync, SyncShow(CloudShow(sync, intake, shared.metrics))]
    return services + _front(shared, wanted)


def _no_room(admission: Admission) -> str:
    """Why a Cloud takes no more from its edges; what holds back its own devices holds them, too."""
    refusals = [refusal for lane in LANES if (refusal := admission.refusal(lane)) is not None]
    return refusals[0].text if refusals else ""


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


def _front(shared: Shared, wanted: Wanted, shown: Sequence[BaseRoute] = ()) -> list[Service]:
    """What listens for devices and people, started last and stopped first."""
    settings, front = shared.settings, list[Service]()
    routes: Sequence[BaseRoute] = ()
    rest: ASGIApp | None = None
    if wanted.gateway:
        context = _gateway_context(shared)
        positions = shared.store.positions if wanted.store else None
        gateway = Gateway(
            context,
            host=settings.mqtt.host,
            port=settings.mqtt.port,
            bounds=Bounds.of_logins(_mqtt_connections(settings)),
        )
        front += disk_watch(settings, shared.admission, shared.metrics)
        front.append(StampKeeper(context, reader=shared.log.reader, positions=positions))
        front.append(gateway)
        routes = http_routes(gateway)
    if wanted.api:
        rest = build_api(_api_context(shared))
    probes = Probes(
        health=shared.board.overall,
        metrics=shared.metrics,
        read_token=settings.api.read_token.get_secret_value(),
    )
    app = process_app(probes, device_routes=[*shown, *routes], rest=rest)
    limits = HttpLimits(connections=min(_HTTP_CONNECTIONS, connections_allowed() // 4))
    server = HttpServer(
        app, settings.http, limits=limits, turned_away=shared.metrics.http_turned_away
    )
    return [*front, server]


def _mqtt_connections(settings: Settings) -> int:
    """As many as are wanted, where the process may open so many files."""
    wanted, possible = settings.mqtt.connections, 3 * connections_allowed() // 4
    if wanted > possible:
        log.warning(
            "mqtt.connections is %d, but at most %d are taken: the system lets this process "
            "open few files. Raise its limit (ulimit -n)",
            wanted, possible,
        )  # fmt: skip
    return min(wanted, possible)


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
        admission=shared.admission,
        rates=settings.limits,
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
