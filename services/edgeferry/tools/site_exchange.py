"""What goes over the link again: after events of an Edge's general lane were dropped, and after one
of the two sites lost its store."""

from collections.abc import Mapping, Sequence

from edgeferry.core.ids import new_token
from edgeferry.sync.all_down import AllDown, AllDownParts
from edgeferry.sync.all_up import AllUp, AllUpParts
from edgeferry.sync.outbox_watch import OutboxWatch, WatchedLane
from edgeferry.sync.sent_again import SentAgain
from edgeferry.sync.snapshots import Snapshots
from edgeferry.sync.store_identity import StoreIdentity, StoreIdentityParts
from edgeferry.tools.site_shared import Shared

Readers = Mapping[str, Sequence[str]]
"""Group -> topics, of all that stand between what comes in and the store."""


def store_identity(shared: Shared, readers: Readers) -> StoreIdentity:
    """For the process that has the link."""
    parts = StoreIdentityParts(
        role=shared.settings.role,
        tenant_id=shared.settings.tenant_id,
        data=shared.settings.data,
        positions=shared.store.positions,
        entities=shared.store.entities,
        topics=shared.log.topics,
        readers=readers,
        fresh=new_token,
        lost=shared.metrics.store_lost,
    )
    return StoreIdentity(parts)


def sent_again(shared: Shared, watch: OutboxWatch) -> SentAgain:
    """For the process that sends the lanes."""
    return SentAgain(_general(watch), _snapshots(shared), shared.store.positions)


def all_up(shared: Shared, watch: OutboxWatch) -> AllUp:
    """For the process that sends the lanes."""
    parts = AllUpParts(
        snapshots=_snapshots(shared),
        positions=shared.store.positions,
        reader=shared.log.reader,
        owner=f"{shared.site}.attributes",
    )
    return AllUp(_general(watch), parts)


def all_down(shared: Shared, readers: Readers) -> AllDown:
    """For the process that has the sessions."""
    parts = AllDownParts(
        snapshots=_snapshots(shared),
        positions=shared.store.positions,
        queue=shared.store.edge_events,
        topics=shared.log.topics,
        readers=readers,
    )
    return AllDown(parts)


def _general(watch: OutboxWatch) -> WatchedLane:
    (lane,) = [lane for lane in watch.lanes if lane.kind == "general"]
    return lane


def _snapshots(shared: Shared) -> Snapshots:
    return Snapshots(
        site=shared.site,
        tenant_id=shared.settings.tenant_id,
        origin=shared.here.origin,
        entities=shared.store.entities,
        writer=shared.log.writer,
        clock=shared.clock,
    )
