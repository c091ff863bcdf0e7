"""Composes the process of a site: everything it runs, in one visible function per role."""

from starlette.routing import BaseRoute

from edgeferry.core.admission import LANES, Admission
from edgeferry.log.topics import site_topic
from edgeferry.rules.inputs import node_inputs
from edgeferry.runtime.service import Service
from edgeferry.sync.cloud import CloudSync
from edgeferry.sync.edge import Backoff, EdgeSync, EdgeSyncParts
from edgeferry.sync.edge_queue import EdgeQueue, QueueNews
from edgeferry.sync.intake import Intake
from edgeferry.sync.lanes import DOWN, UP
from edgeferry.sync.outbox import epoch_of
from edgeferry.sync.outbox_watch import WatchParts
from edgeferry.sync.queue_log import DownLanes
from edgeferry.sync.received_changes import Source
from edgeferry.sync.rights import EdgeRights
from edgeferry.sync.sessions import CloudSyncParts
from edgeferry.tools.site_edges import edges_route
from edgeferry.tools.site_exchange import all_down, all_up, sent_again, store_identity
from edgeferry.tools.site_front import front
from edgeferry.tools.site_outbox import outbox_lookout, outbox_route, outbox_watch, outboxes
from edgeferry.tools.site_parts import CloudShow, EdgeShow, LagWatch, SyncShow, Trim
from edgeferry.tools.site_shared import Shared
from edgeferry.tools.site_wanted import Wanted

_FIRST_REDIAL_SECONDS = 0.1
"""Edge and Cloud of one machine start at the same time: the Cloud may listen a moment later."""


async def edge_site(shared: Shared, wanted: Wanted) -> list[Service]:
    """Raises InvalidSettings."""
    services = shared.log_and_store()
    processors = shared.processors(wanted)
    if wanted.sync:
        services.append(store_identity(shared, _readers(shared)))
        processors.append(_intake(shared, "cloud"))
    if processors:
        services += [shared.runner(processors), *shared.beside_processors(wanted)]
    settings, watch, sync = shared.settings, None, None
    room = WatchParts(admission=shared.admission, clock=shared.clock, metrics=shared.metrics)
    if wanted.sync:
        services.append(_trim(shared))
        lanes = outboxes(settings, shared.log, shared.store.positions, epoch_of(shared.clock))
        watch = outbox_watch(settings, lanes, room)
        up = all_up(shared, watch)
        sync = EdgeSync(
            settings=settings.sync,
            parts=EdgeSyncParts(
                outboxes=lanes,
                received=shared.received(),
                writer=shared.log.new_writer,
                backoff=Backoff(first=_FIRST_REDIAL_SECONDS),
                all_up=up,
            ),
        )
        again = sent_again(shared, watch)
        services += [sync, watch, again, up, SyncShow(EdgeShow(sync, shared.metrics))]
    elif wanted.gateway:
        watch = outbox_lookout(settings, shared.log, room)
        services.append(watch)
    token = settings.api.read_token.get_secret_value()
    shown: list[BaseRoute] = []
    if watch is not None:
        room_shown = outbox_route(
            watch, shared.admission, shared.clock, token, data=settings.data, sync=sync
        )
        shown.append(room_shown)
    return services + front(shared, wanted, shown)


async def cloud_site(shared: Shared, wanted: Wanted) -> list[Service]:
    """Raises InvalidSettings."""
    services = shared.log_and_store()
    processors = shared.processors(wanted)
    intake, news = _intake(shared, "edge"), QueueNews()
    if wanted.sync:
        services.append(store_identity(shared, _readers(shared)))
        processors[:0] = [intake, _edge_queue(shared, news)]
    if processors:
        services += [shared.runner(processors), *shared.beside_processors(wanted)]
    shown: list[BaseRoute] = []
    if wanted.sync:
        lag = LagWatch(shared.log.topics, _readers(shared))
        down = DownLanes(
            store=shared.store.edge_events,
            positions=shared.store.positions,
            news=news,
            first_epoch=epoch_of(shared.clock),
        )
        everything = all_down(shared, _readers(shared))
        sync = CloudSync(
            settings=shared.settings.sync,
            parts=CloudSyncParts(
                received=shared.received(),
                writer=shared.log.new_writer,
                lag=lambda: lag.total,
                down=down,
                all_down=everything,
                full=lambda: _no_room(shared.admission),
            ),
        )
        show = SyncShow(CloudShow(sync, intake, shared.metrics))
        services += [lag, _trim(shared), sync, everything, show]
        shown.append(edges_route(sync, shared.settings.api.read_token.get_secret_value()))
    return services + front(shared, wanted, shown)


def _intake(shared: Shared, source: Source) -> Intake:
    tenant_id, entities = shared.settings.tenant_id, shared.store.entities
    rights = EdgeRights(site=shared.site, tenant_id=tenant_id, store=entities, clock=shared.clock)
    return Intake(
        site=shared.site,
        tenant_id=tenant_id,
        reader=shared.log.reader,
        positions=shared.store.positions,
        clock=shared.clock,
        source=source,
        rights=rights if source == "edge" else None,
    )


def _edge_queue(shared: Shared, news: QueueNews) -> EdgeQueue:
    return EdgeQueue(
        site=shared.site,
        store=shared.store.edge_events,
        positions=shared.store.positions,
        topics=shared.log.topics,
        news=news,
        clock=shared.clock,
    )


def _no_room(admission: Admission) -> str:
    """Why a Cloud takes no more from its edges; what holds back its own devices holds them, too."""
    refusals = [refusal for lane in LANES if (refusal := admission.refusal(lane)) is not None]
    return refusals[0].text if refusals else ""


def _readers(shared: Shared) -> dict[str, list[str]]:
    """Group -> topics, of what stands between what was received and the store: the sync's
    reader (outbox or intake), all nodes of the site's chains, the owner of changes."""
    site = shared.site
    groups = {reads.topic: [reads.topic] for reads in node_inputs(site, shared.chains)}
    sync = "intake" if shared.settings.role == "cloud" else "sync"
    return {
        f"{site}.{sync}": [site_topic(site, lane) for lane in UP],
        f"{site}.attributes": [site_topic(site, "attribute-changes")],
        **groups,
    }


def _trim(shared: Shared) -> Trim:
    site, keep = shared.site, shared.settings.log.keep_seconds
    down = "edge-queue" if shared.settings.role == "cloud" else "apply"
    readers = {f"{site}.{down}": [site_topic(site, lane) for lane in DOWN]}
    return Trim(shared.log.topics, {**_readers(shared), **readers}, shared.clock, keep)
