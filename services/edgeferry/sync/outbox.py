"""The sending half of a lane: its log, what it remembers, how far it is, what it dropped."""

import asyncio
import json
from collections.abc import Callable

from edgeferry.core.clock import Clock
from edgeferry.core.errors import LogUnavailable
from edgeferry.core.store import Position, PositionStore
from edgeferry.sync.caps import Figures
from edgeferry.sync.dropped import DropLedger
from edgeferry.sync.flow import SendLane
from edgeferry.sync.resume import (
    Begin,
    LogFacts,
    Offer,
    SendMemory,
    Want,
    event_hash,
    offsets_to_check,
    remembered,
    resume,
)
from edgeferry.sync.send_log import HELD_WAIT_MS, SendLog
from edgeferry.sync.set_aside import Aside


def epoch_one() -> int:
    return 1


def epoch_of(clock: Clock) -> Callable[[], int]:
    """For an epoch that is above each one before, though neither side knows one any more: what
    the receiver's log holds of those would pass for what comes now. Seconds."""
    return lambda: max(1, clock.now_ms() // 1000)


class Outbox:
    """One lane that this side sends, over all sessions: one at a time uses it.

    ``session``: that one's bookkeeping, None where there is none. ``applied``: epoch and
    offset below which the receiver has handed everything on, as last told. ``all_below``: see
    ``Made`` in schemas/sync.proto."""

    def __init__(
        self,
        *,
        lane: str,
        log: SendLog,
        positions: PositionStore,
        stream: str,
        first_epoch: Callable[[], int] = epoch_one,
        replays: bool = True,
    ) -> None:
        """``stream``: the name under which the position store keeps this lane. ``first_epoch``,
        ``replays``: see ``resume``."""
        self.lane = lane
        self._first_epoch = first_epoch
        self._replays = replays
        self.all_below: int | None = None
        self.log = log
        self._positions = positions
        self._stream = stream
        self.session: SendLane | None = None
        self.applied = (0, 0)
        self._memory: SendMemory | None = None
        self._ledger: DropLedger | None = None
        self._aside: Aside | None = None
        self._aside_kept = True
        self._changing = asyncio.Lock()  # a drop between a session's facts and its begin
        self._committed = -1
        self._begun_at = 0
        self._facts = LogFacts(0, 0)
        self._oldest: tuple[int, int] | None = None

    async def offer(self) -> Offer:
        """Raises LogUnavailable, StoreUnavailable."""
        self._facts = await self.log.facts()
        self._memory = await self._recalled(self._facts)
        await self._standing_aside(self._facts)
        epoch = self._memory.epoch if self._memory else 0
        return Offer(epoch, self._facts.start, self._facts.end)

    async def resume(self, want: Want, peer: str) -> Begin:
        """Where this session goes on; durable here when the epoch or the peer is new, or
        events are lost.

        Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
        async with self._changing:
            self._facts = await self.log.facts()
            hashes = {}
            for offset in offsets_to_check(self._memory, self._facts, want):
                records = await self.log.read(offset, 1, HELD_WAIT_MS)
                if not records:  # a missing hash would pass for a trimmed event
                    raise LogUnavailable(f"the log of lane {self.lane} gives no record at {offset}")
                if records[0].offset == offset:
                    hashes[offset] = event_hash(records[0].value)
            begin = resume(
                self._memory, self._facts, want, peer, hashes,
                first_epoch=self._first_epoch(), replays=self._replays,
            )  # fmt: skip
            before = await self._standing(self._facts)
            await self._note(before.resumed(want, begin, self._facts))
            memory = remembered(self._memory, want, begin, peer, self._facts.log_id)
            if memory != self._memory:
                await self._remember(memory)
            self._begun_at = begin.offset
            return begin

    async def skip(self, lane: SendLane) -> Begin | None:
        """The session goes on above what was dropped; None when nothing was. Everything that
        it had sent is acknowledged. Raises LogUnavailable, StoreUnavailable."""
        async with self._changing:
            self._facts = await self.log.facts()
            if self._facts.start <= lane.next_offset:
                return None
            begin = lane.beginning_at(self._facts.start)
            before = await self._standing(self._facts)
            before = before.acked(lane.epoch, self._begun_at, lane.acked)
            await self._note(before.skipped(begin, self._facts))
            if self._memory is not None:
                await self._remember(self._memory.skip(begin))
            self._begun_at = begin.offset
            lane.skip(begin)
            return begin

    async def acked(self, offset: int, last: bytes) -> None:
        """Keep how far the receiver is. Raises LogUnavailable, StoreUnavailable."""
        async with self._changing:
            if not self._aside_kept:
                await self._keep_aside()
            if self._memory is None:
                return
            if (self._memory.acked, self._committed) != (offset, offset):
                await self._remember(self._memory.ack(self._begun_at, offset, last))
            if self._ledger is not None:
                await self._note(self._ledger.acked(self._memory.epoch, self._begun_at, offset))

    async def drop(self, below: int) -> int:
        """Delete the events below an offset, acknowledged or not; how many were not, as far as
        is known here. Raises LogUnavailable, StoreUnavailable."""
        async with self._changing:
            facts = await self.log.facts()
            before = await self._standing(facts)
            ledger = before.dropping(await self._acked(), min(below, facts.end), facts)
            # Noted before it is done: what a crash leaves undone, ``standing`` takes back.
            await self._note(ledger)
            await self.log.drop(min(below, facts.end))
            return ledger.total - before.total

    def set_aside(self, first: int, end: int) -> None:
        """The events of these offsets are dead letters, durably, and no event was sent that
        stands behind them. Kept by the next ``acked``."""
        self._aside = Aside(first, end, self._facts.log_id)
        self._aside_kept = False

    def is_aside(self, offset: int) -> bool:
        return self._aside is not None and self._aside.holds(offset)

    async def _keep_aside(self) -> None:
        assert self._aside is not None
        position = Position(0, self._aside.end, "", self._aside.pack())
        await self._positions.save(f"{self._stream}/aside", position)
        self._aside_kept = True

    async def _standing_aside(self, facts: LogFacts) -> Aside:
        if self._aside is None:
            stored = await self._positions.load(f"{self._stream}/aside")
            self._aside = Aside.unpack(stored.detail) if stored else Aside()
        if self._aside.log_id != facts.log_id or self._aside.end > facts.end:
            self._aside = Aside()  # of another log
        return self._aside

    async def dropped(self) -> DropLedger:
        """Raises LogUnavailable, StoreUnavailable."""
        return await self._standing(await self.log.facts())

    @property
    def lost(self) -> int:
        """Events that the receiver has been told of as lost, ever."""
        return self._ledger.reported if self._ledger else 0

    @property
    def _total(self) -> int:
        return self._ledger.total if self._ledger else 0

    async def _standing(self, facts: LogFacts) -> DropLedger:
        if self._ledger is None:
            self._ledger = _ledger(await self._positions.load(f"{self._stream}/dropped"))
        return self._ledger.standing(facts)

    async def _note(self, ledger: DropLedger) -> None:
        if (ledger.total or self._total) and ledger != self._ledger:
            position = Position(0, ledger.total, "", ledger.pack())
            await self._positions.save(f"{self._stream}/dropped", position)
        self._ledger = ledger

    async def _remember(self, memory: SendMemory) -> None:
        detail = json.dumps(
            {"log_id": memory.log_id, "last": memory.last.hex(), "lost": memory.lost}
        )
        await self._positions.save(
            self._stream, Position(memory.epoch, memory.acked, memory.peer, detail)
        )
        self._memory = memory
        await self.log.committed(memory.acked)
        self._committed = memory.acked

    async def end(self) -> int:
        """The offset of the next event. Raises LogUnavailable."""
        self._facts = await self.log.facts()
        return self._facts.end

    @property
    def last_end(self) -> int:
        """The same as last known."""
        return self._facts.end

    @property
    def epoch(self) -> int:
        """Of the session, or of the last one that is known; 0: of none."""
        return self.session.epoch if self.session is not None else self.kept[0]

    @property
    def kept(self) -> tuple[int, int]:
        """Epoch and acked offset as last kept."""
        return (self._memory.epoch, self._memory.acked) if self._memory else (0, 0)

    @property
    def peer(self) -> str:
        """The receiver's incarnation at the last session; empty where none is known."""
        return self._memory.peer if self._memory else ""

    def forget(self) -> None:
        """Ask the store anew: another process has this lane's sessions."""
        self._memory = self._ledger = self._aside = None

    async def figures(self) -> Figures:
        """Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
        facts = await self.log.facts()
        acked = await self._acked()
        aside = await self._standing_aside(facts)
        first = min(aside.passed(max(acked, facts.start)), facts.end)
        size, measured = await self.bytes_from(first, facts.end)
        oldest_ms = await self._oldest_ms(first, self.session) if first < facts.end else None
        dropped = (await self._standing(facts)).gone(acked, facts)
        return Figures(first, facts.end, size, measured, oldest_ms, acked, dropped)

    async def oldest_ms(self) -> int | None:
        """When the oldest event that is not acknowledged was appended, as of the last ``end``.

        Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
        first = max(await self._acked(), self._facts.start)
        return await self._oldest_ms(first, self.session) if first < self._facts.end else None

    async def _acked(self) -> int:
        if self.session is not None:
            return self.session.acked
        if self._memory is None:
            self._memory = await self._recalled(await self.log.facts())
        return self.kept[1]

    async def _recalled(self, facts: LogFacts) -> SendMemory | None:
        """A store that was lost knows nothing of this lane; what the receiver has the log knows,
        too, which would be resent or counted as lost otherwise."""
        stored = await self._positions.load(self._stream)
        if stored is not None:
            return _memory(stored)
        acked = await self.log.acknowledged()
        return SendMemory(0, acked, log_id=facts.log_id) if acked else None

    async def _oldest_ms(self, acked: int, lane: SendLane | None) -> int | None:
        if lane is not None and lane.oldest_ms is not None:
            return lane.oldest_ms
        if self._oldest is None or self._oldest[0] != acked:
            self._oldest = None
            if (found := await self.appended_ms(acked)) is not None:
                self._oldest = (acked, found)
        return self._oldest[1] if self._oldest else None

    async def bytes_from(self, offset: int, end: int) -> tuple[int, bool]:
        """See ``SendLog.bytes_from``. Raises LogUnavailable, OffsetOutOfRange."""
        return await self.log.bytes_from(offset, end)

    async def appended_ms(self, offset: int) -> int | None:
        """When the record at ``offset`` was appended; None when the log gives none there.

        Raises LogUnavailable, OffsetOutOfRange."""
        records = await self.log.read(offset, 1, HELD_WAIT_MS)
        return records[0].timestamp if records else None


def _memory(position: Position) -> SendMemory:
    detail = json.loads(position.detail)
    return SendMemory(
        epoch=position.epoch,
        acked=position.offset,
        peer=position.incarnation,
        log_id=detail["log_id"],
        last=bytes.fromhex(detail["last"]),
        lost=detail["lost"],
    )


def _ledger(position: Position | None) -> DropLedger:
    return DropLedger.unpack(position.detail) if position else DropLedger()
