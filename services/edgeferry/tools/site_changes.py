"""A site's owner of changes, and how the other services of its processes reach it."""

from collections.abc import Callable, Container, Sequence
from pathlib import Path

from edgeferry.attributes.client import (
    ByPolling,
    HereOrElsewhere,
    InProcess,
    SubmittedChanges,
    Waiting,
)
from edgeferry.attributes.commands import Commands
from edgeferry.attributes.device_calls import Outcomes
from edgeferry.attributes.entities import Entities
from edgeferry.attributes.expiry import Expiry
from edgeferry.attributes.facts import Here
from edgeferry.attributes.notifier import Applied
from edgeferry.attributes.processor import AttributesService
from edgeferry.core.changes import CLOUD_ORIGIN, Changes, edge_origin
from edgeferry.core.clock import Clock
from edgeferry.core.message import EntityType
from edgeferry.core.record import LogWriter
from edgeferry.core.store import EntityStore, Store
from edgeferry.log.topics import site_topic, site_topics
from edgeferry.runtime.settings import Settings
from edgeferry.sync.edges import Edges


def here_of(settings: Settings) -> Here:
    """An Edge is known by its routing key from its first start on; its id only the Cloud
    knows, until they have spoken."""
    cloud = settings.role == "cloud"
    return Here(settings.site, CLOUD_ORIGIN if cloud else edge_origin(settings.sync.edge_key))


def waiting_for(settings: Settings, store: Store, clock: Clock, applied: Applied) -> Waiting:
    """A log of our own has its owner of changes in this process, and nowhere else."""
    if settings.log.kind == "sqlite":
        return InProcess(applied)
    polling = ByPolling(
        attributes=store.attributes, entities=store.entities, rpcs=store.rpcs, clock=clock
    )
    topic = site_topic(settings.site, "attribute-changes")
    partitions = {one.name: one.partitions for one in site_topics(settings.site, settings.role)}
    return HereOrElsewhere(applied=applied, polling=polling, partitions=partitions[topic])


def changes_of(here: Here, writer: LogWriter, waiting: Waiting) -> Changes:
    return SubmittedChanges(site=here.site, writer=writer, waiting=waiting)


def attributes_service(
    here: Here,
    store: Store,
    clock: Clock,
    applied: Applied,
    nodes: Container[str],
    late: Callable[[int], None] = lambda count: None,
) -> AttributesService:
    """``nodes``: the topics of the site's rule nodes; ``late``: see there."""
    return AttributesService(
        here=here,
        attributes=store.attributes,
        entities=Entities(
            here=here,
            store=store.entities,
            attributes=store.attributes,
            timeseries=store.timeseries,
        ),
        commands=Commands(here=here, store=store.rpcs, outcomes=Outcomes(nodes=nodes)),
        applied=applied,
        clock=clock,
        late=late,
    )


def expiry(here: Here, tenant_id: str, store: Store, changes: Changes, clock: Clock) -> Expiry:
    return Expiry(here=here, tenant_id=tenant_id, store=store.rpcs, changes=changes, clock=clock)


class RelatedEdges:
    """``core.node.EdgesPort``. ``edges_file``: the Cloud's list, all of one tenant."""

    def __init__(self, entities: EntityStore, edges_file: Path | None) -> None:
        self._entities = entities
        self._edges = Edges(edges_file) if edges_file is not None else None

    async def related(self, entities: Sequence[tuple[str, str]]) -> Sequence[Sequence[str]]:
        """Raises StoreUnavailable."""
        found = await self._entities.edges_of(list(dict.fromkeys(entities)))
        return [
            self._all() if key[0] == EntityType.TENANT else found.get(key, ()) for key in entities
        ]

    def _all(self) -> Sequence[str]:
        return [edge.id for edge in self._edges.all()] if self._edges is not None else ()
