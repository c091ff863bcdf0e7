"""How many events left a sender's log before the receiver had them: pure.

A drop is counted at once, and corrected when the receiver tells how far it really was (its
last acknowledgements may have been under way): at rest the count is what the receiver counts
as lost.
"""

from typing import NamedTuple

from edgeferry.sync.resume import Begin, LogFacts, Want


class DropLedger(NamedTuple):
    """``settled``: told and taken. ``told``: by the Begin at ``told_epoch``, ``told_offset``,
    not known to be taken. ``first`` to ``below``: offsets gone and not told. ``log_id`` is of
    the log that these are in."""

    settled: int = 0
    told: int = 0
    told_epoch: int = 0
    told_offset: int = 0
    first: int = 0
    below: int = 0
    log_id: str = ""

    @property
    def untold(self) -> int:
        return max(0, self.below - self.first)

    @property
    def reported(self) -> int:
        """Events that the receiver has been told of as lost."""
        return self.settled + self.told

    @property
    def total(self) -> int:
        return self.reported + self.untold

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

    def acked(self, epoch: int, offset: int) -> "DropLedger":
        """The receiver has everything below ``offset`` that it has not been told of as lost."""
        ledger = self
        if ledger.told and epoch == ledger.told_epoch and offset > ledger.told_offset:
            ledger = ledger._replace(settled=ledger.reported, told=0)
        if ledger.first < offset and ledger.untold:
            ledger = ledger._replace(first=min(offset, ledger.below))
        return ledger

    def began(self, want: Want, begin: Begin, log: LogFacts) -> "DropLedger":
        """The receiver at ``want`` is about to be told ``begin``, which has all that is gone."""
        settled, told = self.settled, self.told
        taken = want.epoch == self.told_epoch and want.offset >= self.told_offset
        if told and taken:
            settled, told = settled + told, 0
        elif want.epoch == self.told_epoch:
            told = 0  # ``begin`` tells of these again
        return DropLedger(
            settled=settled,
            told=max(told, begin.lost),
            told_epoch=begin.epoch,
            told_offset=begin.offset,
            log_id=log.log_id,
        )
