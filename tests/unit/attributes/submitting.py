"""Changes that are submitted to a site in memory."""

from collections.abc import Sequence

from edgeferry.attributes.client import InProcess, SubmittedChanges
from edgeferry.core.record import Outgoing
from edgeferry.log.change_codec import decode_change
from tests.unit.attributes.memory import Site


class Log:
    """Appends into a site's log of changes; ``handles``: the service is awake."""

    max_record_bytes = 1_000_000

    def __init__(self, site: Site, *, handles: bool = True) -> None:
        self.site = site
        self.handles = handles

    async def append(self, records: Sequence[Outgoing]) -> None:
        for record in records:
            self.site.put(decode_change(record.value))
        if self.handles:
            self.site.handle()


def client(site: Site, *, handles: bool = True) -> SubmittedChanges:
    waiting = InProcess(site.applied)
    return SubmittedChanges(
        site="site", writer=Log(site, handles=handles), waiting=waiting, seconds=0.01
    )
