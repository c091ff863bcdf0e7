"""One session of the link, the same at both ends: sends some lanes, receives others."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeferry.core.errors import (
    Later,
    OffsetOutOfRange,
    Undecodable,
)
from edgeferry.core.record import LogWriter, Record
from edgeferry.log.codec import schema_id_of
from edgeferry.sync import sync_pb2 as pb
from edgeferry.sync.batches import BatchPacker, Packed
from edgeferry.sync.ending import (
    SessionEnded,
    Stream,
    as_ended,
    peer_closed,
    said_goodbye,
    silent_peer,
)
from edgeferry.sync.flow import ProtocolError
from edgeferry.sync.inbox import Inbox, Received
from edgeferry.sync.resume import Begin
from edgeferry.sync.sending import LinkLimits, Sending
from edgeferry.sync.set_aside import set_aside, sifted
from edgeferry.sync.sync_pb2 import Ack, Credit, Frame, Made

_WAIT_MS = 1000
_LOOK_MS = 10
"""How long a lane that has just sent looks whether more follows before it counts as idle."""

_PACE_SECONDS = 0.005
"""Least time between two small batches: a trickle travels as batches, not as frames."""

_KEEP_SECONDS = 1.0
_MADE_SECONDS = 2.0
_FOLLOW_SECONDS = 1.0
_GOODBYE_SECONDS = 1.0

BEAT_SECONDS = 5.0
"""An end that has nothing to tell says at least this often that it is there."""

SILENT_SECONDS = 15.0
"""After which a link on which nothing comes is half open: the peer's host went without a word."""

log = logging.getLogger(__name__)


class Link:
    """Runs a session whose handshake is done."""

    def __init__(
        self,
        *,
        stream: Stream,
        limits: LinkLimits,
        sending: Sequence[Sending],
        inboxes: Sequence[Inbox],
        unknown_schemas: frozenset[int],
        site: Received,
    ) -> None:
        """``sending`` in order of precedence; ``unknown_schemas``: ids of ours that the
        peer cannot read: events that use one wait until it can. ``site``: this one."""
        self._site = site
        self._stream = stream
        self._limits = limits
        self._sending = {sending_lane.name: sending_lane for sending_lane in sending}
        self._inboxes = {inbox.name: inbox for inbox in inboxes}
        self._unknown = unknown_schemas
        self._packer = BatchPacker()
        self._writing = asyncio.Lock()
        self._end: asyncio.Future[SessionEnded] = asyncio.get_running_loop().create_future()
        self._window = limits.window
        self._window_changed = asyncio.Event()
        self._silent = 0.0
        self.acked_anything = False

    @property
    def append_failed(self) -> bool:
        """Then the writer must be ended: something of it may still be on its way."""
        return any(inbox.failed for inbox in self._inboxes.values())

    @property
    def silent_seconds(self) -> float:
        """For how long nothing has come from the peer."""
        return self._silent

    async def send(self, frame: Frame) -> None:
        async with self._writing:
            await self._stream.write(frame)

    def end(self, ended: SessionEnded) -> None:
        """End the session from this side, in order."""
        if not self._end.done():
            self._end.set_result(ended)

    def credit(self, window: int) -> None:
        """Let at most ``window`` bytes per lane be under way to us; 0 pauses."""
        if window != self._window:
            self._window = window
            self._window_changed.set()

    async def _tell_credit(self) -> None:
        """Also when it is the same as ever, as a beat."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._window_changed.wait()
            self._window_changed.clear()
            window = self._window
            for inbox in self._inboxes.values():
                inbox.lane.granted(window)
                credit = Credit(lane=inbox.name, window=window)
                credit.applied_epoch, credit.applied = inbox.handed.epoch, inbox.handed.offset
                await self.send(Frame(credit=credit))

    async def _follow_handed_on(self) -> None:
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            for inbox in self._inboxes.values():
                with contextlib.suppress(Later, TimeoutError):
                    async with asyncio.timeout(_MADE_SECONDS):
                        if await inbox.handed.look(inbox.lane):
                            self._window_changed.set()

    async def run(self, writer: LogWriter) -> SessionEnded:
        """Until either side or the connection ends it. Returns after the append under way
        is done and every position is kept. ``writer``: of this site's log."""
        for inbox in self._inboxes.values():
            inbox.lane.granted(self._limits.window)
        receiving = {
            inbox: asyncio.create_task(inbox.run(writer), name=f"sync {inbox.name}")
            for inbox in self._inboxes.values()
        }
        tasks = [
            asyncio.create_task(self._read(), name="sync read"),
            asyncio.create_task(self._listen(), name="sync silence"),
            asyncio.create_task(self._tell_credit(), name="sync credit"),
            asyncio.create_task(self._follow_handed_on(), name="sync handed on"),
        ]
        tasks += [
            asyncio.create_task(self._acknowledge(inbox), name=f"sync ack {inbox.name}")
            for inbox in receiving
        ]
        tasks += [
            asyncio.create_task(work, name=f"sync {sending.name}")
            for sending in self._sending.values()
            for work in (
                self._pump(sending, writer),
                self._keep(sending),
                self._tell_made(sending),
            )
        ]
        try:
            waited: list[asyncio.Future[Any]] = [self._end, *tasks, *receiving.values()]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            ended, ours = self._how_it_ended([*tasks, *receiving.values()])
            if ours:
                with contextlib.suppress(SessionEnded, TimeoutError):
                    async with asyncio.timeout(_GOODBYE_SECONDS):
                        await self.send(ended.goodbye())
        finally:
            await self._close(tasks, receiving)
        return ended

    async def _close(
        self,
        tasks: Sequence["asyncio.Task[None]"],
        receiving: Mapping[Inbox, "asyncio.Task[None]"],
    ) -> None:
        self._end.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sending in self._sending.values():
            await self._keep_once(sending)
            sending.outbox.session = None
        await asyncio.gather(*(inbox.close(task) for inbox, task in receiving.items()))

    def _how_it_ended(self, tasks: Sequence["asyncio.Task[None]"]) -> tuple[SessionEnded, bool]:
        """And whether the peer is to be told."""
        for task in tasks:
            if not task.done() or task.cancelled():
                continue
            error = task.exception()
            if error is not None:
                return as_ended(error), not isinstance(error, SessionEnded)
        return self._end.result(), True

    async def _read(self) -> None:
        handlers: Mapping[str, Callable[[Frame], None]] = {
            "batch": lambda frame: self._inbox(frame.batch.lane).put(frame.batch),
            "ack": self._on_ack,
            "credit": self._on_credit,
            "made": self._on_made,
            "begun": self._on_skip,
        }
        while True:
            frame = await self._stream.read()
            self._silent = 0.0
            if frame is None:
                raise peer_closed()
            kind = frame.WhichOneof("kind") or "nothing"
            if kind == "goodbye":
                raise said_goodbye(frame.goodbye)
            handler = handlers.get(kind)
            if handler is None:
                raise ProtocolError(f"a frame of {kind} in a running session")
            handler(frame)

    async def _listen(self) -> None:
        """End a half-open link. In steps, so that a process that stood still hears first what
        came meanwhile."""
        step = SILENT_SECONDS / 15
        while self._silent < SILENT_SECONDS:
            await asyncio.sleep(step)
            self._silent += step
        raise silent_peer(SILENT_SECONDS)

    def _inbox(self, name: str) -> Inbox:
        found = self._inboxes.get(name)
        if found is None:
            raise ProtocolError(f"lane {name!r} is not received in this session")
        return found

    def _sent_lane(self, name: str) -> Sending:
        found = self._sending.get(name)
        if found is None:
            raise ProtocolError(f"lane {name!r} is not sent in this session")
        return found

    def _on_ack(self, frame: Frame) -> None:
        sending = self._sent_lane(frame.ack.lane)
        sending.lane.ack(frame.ack.epoch, frame.ack.next_offset)
        self.acked_anything = True
        sending.changed.set()

    def _on_credit(self, frame: Frame) -> None:
        sending = self._sent_lane(frame.credit.lane)
        sending.lane.credit(frame.credit.window)
        sending.outbox.applied = (frame.credit.applied_epoch, frame.credit.applied)
        sending.changed.set()

    def _on_made(self, frame: Frame) -> None:
        self._inbox(frame.made.lane).told(frame.made)

    def _on_skip(self, frame: Frame) -> None:
        for told in frame.begun.begins:
            begin = Begin(told.epoch, told.offset, told.lost, told.reason)
            self._inbox(told.lane).skip(begin)

    async def _acknowledge(self, inbox: Inbox) -> None:
        """Apart from the appends: a peer that does not read must not hold one up. What was
        stored while an ack was being written is told by the next one."""
        told = inbox.lane.durable
        while True:
            await inbox.stored.wait()
            inbox.stored.clear()
            if inbox.lane.durable == told:
                continue
            told = inbox.lane.durable
            ack = Ack(lane=inbox.name, epoch=inbox.lane.epoch, next_offset=told)
            await self.send(Frame(ack=ack))

    async def _pump(self, sending: Sending, writer: LogWriter) -> None:
        lane, source = sending.lane, sending.outbox.log
        offset = lane.next_offset
        before = self._before(sending)
        wait_ms = _LOOK_MS
        while True:
            await sending.room()
            try:
                records = await source.read(offset, self._limits.batch_bytes, wait_ms)
            except OffsetOutOfRange:
                await self._skip(sending)
                offset = lane.next_offset
                continue
            if not records:
                sending.idle.set()
                wait_ms = _WAIT_MS
                continue
            sending.idle.clear()
            wait_ms = _LOOK_MS
            for other in before:
                await other.idle.wait()
            if self._unknown:
                records = await self._readable(sending, records)
            offset = records[-1].offset + 1
            packed = await self._packed(sending, records, writer)
            if packed is None:
                continue
            lane.sent(packed.batch.next_offset, packed.size, packed.last, records[0].timestamp)
            await self.send(Frame(batch=packed.batch))
            if packed.size < self._limits.batch_bytes // 2:
                await asyncio.sleep(_PACE_SECONDS)

    async def _packed(
        self, sending: Sending, records: Sequence[Record], writer: LogWriter
    ) -> Packed | None:
        """None when not one of them can travel. Raises LogUnavailable."""
        lane = sending.lane

        def pack(records: Sequence[Record]) -> Packed:
            return self._packer.pack(sending.name, lane.epoch, lane.next_offset, records)

        try:
            return pack(records)
        except Exception:  # of one of them: it must not stop those behind it
            fit, unfit = sifted(records, lambda record: pack([record]))
            new = [one for one in unfit if not sending.outbox.is_aside(one[0].offset)]
            if new:
                await set_aside(new, lane=sending.name, site=self._site, writer=writer)
                passed = fit[-1].offset + 1 if fit else lane.next_offset
                if passed <= new[-1][0].offset:
                    sending.outbox.set_aside(passed, new[-1][0].offset + 1)
            return pack(fit) if fit else None

    async def _skip(self, sending: Sending) -> None:
        """Events went from the log before they were sent: the peer is told, once all that was
        sent is acknowledged, and the session goes on. Raises OffsetOutOfRange."""
        sending.idle.set()
        while sending.lane.in_flight:
            sending.changed.clear()
            await sending.changed.wait()
        begin = await sending.outbox.skip(sending.lane)
        if begin is None:
            raise OffsetOutOfRange(f"offset {sending.lane.next_offset} of lane {sending.name}")
        log.error(
            "lane %s goes on at offset %d: %d events are lost",
            sending.name, begin.offset, begin.lost,
        )  # fmt: skip
        told = pb.Begin(
            lane=sending.name,
            epoch=begin.epoch,
            offset=begin.offset,
            lost=begin.lost,
            reason=begin.reason,
        )
        await self.send(Frame(begun=pb.Begun(begins=[told])))

    def _before(self, sending: Sending) -> list[Sending]:
        order = list(self._sending.values())
        return order[: order.index(sending)]

    async def _readable(self, sending: Sending, records: Sequence[Record]) -> Sequence[Record]:
        """The records up to the first whose schema the peer lacks; waits for ever when that
        is the first one: the next session is with a peer that may know it."""
        for at, record in enumerate(records):
            id_ = _schema_id(record)
            if id_ not in self._unknown:
                continue
            if at:
                return records[:at]
            sending.held_by_schema = id_
            sending.idle.set()
            log.error(
                "lane %s waits: the peer does not know schema id %d: upgrade it", sending.name, id_
            )
            await asyncio.get_running_loop().create_future()
        return records

    async def _keep(self, sending: Sending) -> None:
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            await self._keep_once(sending)

    async def _keep_once(self, sending: Sending) -> None:
        try:
            await sending.outbox.acked(sending.lane.acked, sending.lane.acked_hash)
        except Later as error:
            log.warning("lane %s: acked position not kept yet: %s", sending.name, error)

    async def _tell_made(self, sending: Sending) -> None:
        """Also when it is the same as ever, as a beat."""
        clock = asyncio.get_running_loop().time
        told, told_at = Made(), 0.0
        while True:
            with contextlib.suppress(Later, OffsetOutOfRange, TimeoutError):
                async with asyncio.timeout(_MADE_SECONDS):
                    await sending.look()
            # a log that does not answer is no reason to fall silent
            made = sending.made(self._site.clock.now_ms())
            if made != told or clock() - told_at >= BEAT_SECONDS:
                await self.send(Frame(made=made))
                told, told_at = made, clock()
            await asyncio.sleep(_MADE_SECONDS)


def _schema_id(record: Record) -> int:
    """-1 for bytes without one: they travel, and the receiver makes dead letters of them."""
    try:
        return schema_id_of(record.value or b"")
    except Undecodable:
        return -1
