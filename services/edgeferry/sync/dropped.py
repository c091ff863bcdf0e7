"""How many events left a sender's log before the receiver had them: pure.

A drop is counted at once, and corrected when the receiver tells how far it really was (its
last acknowledgements may have been under way): at rest the count is what the receiver counts
as lost.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

from edgeferry.sync.resume import Begin, LogFacts, Want


class Told(NamedTuple):
    """A Begin that the receiver may not have taken: where it begins, how many it tells of."""

    epoch: int
    offset: int
    lost: int


class DropLedger(NamedTuple):
    """``settled``: told and taken. ``first`` to ``below``: offsets that are gone and not told
    of. ``log_id`` is of the log that these are in."""

    settled: int = 0
    told: tuple[Told, ...] = ()
    first: int = 0
    below: int = 0
    log_id: str = ""

    @property
    def untold(self) -> int:
        return max(0, self.below - self.first)

    @property
    def reported(self) -> int:
        """Events that the receiver has been told of as lost."""
        return self.settled + sum(told.lost for told in self.told)

    @property
    def total(self) -> int:
        return self.reported + self.untold

    def gone(self, acked: int, log: LogFacts) -> int:
        """Events that ever left the log unacknowledged, those that it let go by itself and
        nobody has noted yet, too."""
        counted = max(acked, self.below, *(told.offset for told in self.told), 0)
        return self.total + max(0, log.start - counted)

    def standing(self, log: LogFacts) -> "DropLedger":
        """As the log proves it: a drop is noted before it is done, and may not have been."""
        if self.log_id and log.log_id and self.log_id != log.log_id:
            return DropLedger(settled=self.total, log_id=log.log_id)
        if self.below <= log.start:
            return self
        return self._replace(below=max(self.first, log.start))

    def dropping(self, acked: int, below: int, log: LogFacts) -> "DropLedger":
        """Everything below ``below`` is about to go, of which the receiver has ``acked``."""
        first = self.first if self.untold else max(acked, log.start)
        return self._replace(first=first, below=max(first, below), log_id=log.log_id)

    def acked(self, epoch: int, begun_at: int, offset: int) -> "DropLedger":
        """The receiver has everything below ``offset`` that it was not told of as lost. Above
        ``begun_at``, where the sender last began or skipped to, that is an ack of its own."""
        ledger = self
        if offset > begun_at:
            ledger = self._settling(lambda told: told.epoch == epoch)
        if ledger.untold:
            ledger = ledger._replace(first=min(max(ledger.first, offset), ledger.below))
        return ledger

    def resumed(self, want: Want, begin: Begin, log: LogFacts) -> "DropLedger":
        """A receiver at ``want`` is about to be told ``begin``, which has all that is gone."""
        ledger = self._settling(lambda t: t.epoch == want.epoch and t.offset <= want.offset)
        elsewhere = sum(told.lost for told in ledger.told if told.epoch != want.epoch)
        lost = max(begin.lost, elsewhere)
        return ledger._telling(Told(begin.epoch, begin.offset, lost), (), log)

    def skipped(self, begin: Begin, log: LogFacts) -> "DropLedger":
        """The receiver of a running session is about to be told ``begin``."""
        return self._telling(Told(begin.epoch, begin.offset, begin.lost), self.told, log)

    def _telling(self, new: Told, before: tuple[Told, ...], log: LogFacts) -> "DropLedger":
        told = (*before, new) if new.lost else before
        return DropLedger(settled=self.settled, told=told, log_id=log.log_id)

    def _settling(self, taken: Callable[[Told], bool]) -> "DropLedger":
        kept = tuple(told for told in self.told if not taken(told))
        settled = self.reported - sum(told.lost for told in kept)
        return self._replace(settled=settled, told=kept)

    def pack(self) -> str:
        return json.dumps(self._asdict())

    @staticmethod
    def unpack(text: str) -> "DropLedger":
        parts = json.loads(text)
        told = tuple(Told(*one) for one in parts.pop("told"))
        return DropLedger(told=told, **parts)
