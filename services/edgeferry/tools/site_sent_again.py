"""What goes up again after events of an Edge's general lane were dropped."""

from edgeferry.sync.outbox_watch import OutboxWatch
from edgeferry.sync.sent_again import SentAgain, SentAgainParts
from edgeferry.tools.site_shared import Shared


def sent_again(shared: Shared, watch: OutboxWatch) -> list[SentAgain]:
    """For the process that sends the lanes."""
    parts = SentAgainParts(
        site=shared.site,
        tenant_id=shared.settings.tenant_id,
        origin=shared.here.origin,
        entities=shared.store.entities,
        positions=shared.store.positions,
        writer=shared.log.writer,
        clock=shared.clock,
    )
    return [SentAgain(lane, parts) for lane in watch.lanes if lane.kind == "general"]
