"""The Edge's end of the link: dials the Cloud and keeps at it."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeferry.core.errors import InvalidSettings, Later, OffsetOutOfRange
from edgeferry.core.ids import new_token
from edgeferry.log.port import ClosableWriter
from edgeferry.runtime.service import Health
from edgeferry.runtime.settings import SyncSettings
from edgeferry.runtime.tls_pins import (
    Trust,
    Unreachable,
    Untrusted,
    parsed_fingerprint,
    pinned,
    presented_chain,
    split_address,
)
from edgeferry.sync import handshake
from edgeferry.sync.all_up import AllUp
from edgeferry.sync.ending import SessionEnded, expect
from edgeferry.sync.flow import ProtocolError
from edgeferry.sync.inbox import Inbox, Received
from edgeferry.sync.lane_status import ReceivedLane, received_lane
from edgeferry.sync.lanes import DOWN
from edgeferry.sync.link import Link
from edgeferry.sync.outbox import Outbox
from edgeferry.sync.sending import LinkLimits, Sending
from edgeferry.sync.streams import CallStream
from edgeferry.sync.sync_pb2 import Begin, Frame, Goodbye, Hello, Start

_HANDSHAKE_SECONDS = 30.0
_STOP_SECONDS = 10.0
_CLOCKS_AGREE_MS = 1000
_CLOCKS_DIFFER_MS = 5000
_LASTED_SECONDS = 10.0
"""A session that was this long got somewhere, also when nothing was to be sent."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between attempts: doubled from ``first`` to ``longest``, with jitter; back
    to ``first`` after a session that got somewhere."""

    first: float = 0.5
    longest: float = 10.0
    jitter: Callable[[], float] = random.random

    def delay(self, failures: int) -> float:
        upto = min(self.longest, self.first * float(2 ** min(failures, 16)))
        return upto * (0.5 + 0.5 * self.jitter())


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSyncParts:
    """outboxes: the lanes that go up, in order of precedence. received, writer: for the
    lanes that come down; the writer is made anew after a failure. all_up: what is sent to a
    Cloud that lost its store; None: nothing is."""

    outboxes: Sequence[Outbox]
    received: Received
    writer: Callable[[], ClosableWriter]
    backoff: Backoff = field(default_factory=Backoff)
    all_up: AllUp | None = None


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """``held_by_schema``: a schema id that the Cloud must learn first."""

    epoch: int
    acked: int
    in_flight: int
    held_by_schema: int | None


@dataclass(frozen=True, slots=True)
class EdgeSyncStatus:
    """``detail``: why there is no connection; empty while there is one. ``lost``: events that
    the Cloud was told of as lost, ever. ``received``: the lanes that come down, as of the last
    session; empty before the first. ``sending_all``: to a Cloud whose store is new."""

    connected: bool
    detail: str
    edge_id: str
    lanes: Mapping[str, LaneStatus]
    lost: int
    received: Sequence[ReceivedLane] = ()
    sending_all: bool = False


class EdgeSync:
    """A Service. The Edge works without the Cloud, so it is ready in any case."""

    def __init__(self, *, settings: SyncSettings, parts: EdgeSyncParts) -> None:
        """Raises InvalidSettings naming every setting that is missing."""
        self._secret_file = _checked(settings)
        self._settings = settings
        self._parts = parts
        self._limits = LinkLimits(
            batch_bytes=settings.batch_bytes,
            in_flight=settings.in_flight,
            window=settings.batch_bytes * settings.in_flight,
        )
        self._schemas = handshake.our_schemas()
        self._incarnation = ""
        self._trust: Trust | None = None
        self._link: Link | None = None
        self._sending: Mapping[str, Sending] = {}
        self._inboxes: Sequence[Inbox] = ()
        self._writer: ClosableWriter | None = None
        self._detail = "not connected yet"
        self._edge_id = ""
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def name(self) -> str:
        return "sync"

    async def start(self) -> None:
        """Returns at once: the Cloud may be away."""
        self._task = asyncio.create_task(self._keep_connected(), name="sync")

    async def stop(self) -> None:
        """Ends a session in order; a connection that is still being made is dropped."""
        self._stopping.set()
        if self._task is None:
            return
        if self._link is not None:
            self._link.end(SessionEnded(Goodbye.STOPPING, "the Edge stops"))
            await asyncio.wait([self._task], timeout=_STOP_SECONDS)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._drop_writer()

    def health(self) -> Health:
        alive = self._task is None or not self._task.done()
        return Health(alive=alive, ready=True, detail=self._detail)

    def status(self) -> EdgeSyncStatus:
        lanes = {outbox.lane: self._lane_status(outbox) for outbox in self._parts.outboxes}
        return EdgeSyncStatus(
            connected=self._link is not None,
            detail=self._detail,
            edge_id=self._edge_id,
            lanes=lanes,
            lost=sum(outbox.lost for outbox in self._parts.outboxes),
            received=[received_lane(inbox) for inbox in self._inboxes],
            sending_all=self._parts.all_up is not None and self._parts.all_up.under_way,
        )

    def _lane_status(self, outbox: Outbox) -> LaneStatus:
        sending = self._sending.get(outbox.lane)
        if sending is None:
            epoch, acked = outbox.kept
            return LaneStatus(epoch, acked, 0, None)
        lane = sending.lane
        return LaneStatus(lane.epoch, lane.acked, lane.in_flight, sending.held_by_schema)

    async def _keep_connected(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            got_somewhere = False
            try:
                ended, got_somewhere = await self._session()
            except SessionEnded as error:
                ended = error
            except ProtocolError as error:
                ended = SessionEnded(Goodbye.BAD_FRAME, str(error))
            except (Later, OffsetOutOfRange) as error:
                ended = SessionEnded(Goodbye.LOG_UNAVAILABLE, f"this site: {error}")
            except (OSError, TimeoutError) as error:
                ended = SessionEnded(Goodbye.UNSPECIFIED, f"{type(error).__name__}: {error}")
            except Exception as error:
                log.exception("sync failed; it goes on with a new connection")
                ended = SessionEnded(Goodbye.INTERNAL, f"{type(error).__name__}: {error}")
            finally:
                self._link, self._sending = None, {}
            self._detail = f"not connected to {self._settings.address}: {ended.text}"
            failures = 0 if got_somewhere else failures + 1
            delay = self._parts.backoff.delay(failures if ended.retry else 16)
            if not self._stopping.is_set():
                log.log(
                    logging.WARNING if ended.retry else logging.ERROR,
                    "%s; trying again in %.1f s", self._detail, delay,
                )  # fmt: skip
            await self._pause(delay)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _session(self) -> tuple[SessionEnded, bool]:
        """One connection, and whether it got somewhere. Raises SessionEnded, Later,
        ProtocolError, OSError, TimeoutError."""
        settings = self._settings
        trust, self._trust = self._trust or await self._trusted(), None
        async with handshake.channel(settings, trust) as channel:
            call = channel.stream_stream(
                handshake.METHOD,
                request_serializer=Frame.SerializeToString,
                response_deserializer=Frame.FromString,
            )()
            stream = CallStream(call)
            try:
                async with asyncio.timeout(_HANDSHAKE_SECONDS):
                    link = await self._shake_hands(stream)
                self._link, self._detail, self._trust = link, "", trust
                log.info("connected to %s as edge %s", settings.address, self._edge_id)
                began = self._parts.received.clock.monotonic()
                ended = await link.run(self._open_writer())
                lasted = self._parts.received.clock.monotonic() - began
            finally:
                call.cancel()
        if link.append_failed:
            await self._drop_writer()
        return ended, link.acked_anything or lasted >= _LASTED_SECONDS

    async def _trusted(self) -> Trust:
        """Looked at again after each attempt that came to nothing. Raises SessionEnded."""
        settings = self._settings
        if not settings.fingerprint:
            return Trust(settings.ca_file.read_bytes() if settings.ca_file else None)
        host, port = split_address(settings.address)
        try:
            chain = await presented_chain(host, port)
            now_ms = self._parts.received.clock.now_ms()
            return pinned(chain, parsed_fingerprint(settings.fingerprint), host, now_ms)
        except (Unreachable, Untrusted) as error:
            retry = isinstance(error, Unreachable)
            raise SessionEnded(Goodbye.UNSPECIFIED, str(error), retry=retry) from error

    async def _shake_hands(self, stream: CallStream) -> Link:
        outboxes = self._parts.outboxes
        self._incarnation = await handshake.incarnation_of(
            self._parts.received.positions, new_token()
        )
        hello = Hello(
            version=handshake.VERSION,
            edge_key=self._settings.edge_key,
            secret=self._secret_file.read_text().strip(),
            schemas=handshake.schemas_to_wire(self._schemas),
            offers=await handshake.offers(outboxes),
        )
        await stream.write(Frame(hello=hello))
        welcome = (await expect(stream, "welcome")).welcome
        self._edge_id = welcome.edge_id
        if self._parts.all_up is not None:
            await self._parts.all_up.meets(welcome.incarnation)
        sending, begins = await handshake.begin_sending(
            outboxes, welcome.wants, welcome.incarnation, self._limits
        )
        self._report_losses(begins)
        ahead_ms = _ahead(welcome.now_ms, self._parts.received.clock.now_ms())
        inboxes = [
            Inbox(
                lane=offer.lane,
                edge_id=welcome.edge_id,
                stream=f"sync/{welcome.edge_id}/{offer.lane}",
                received=self._parts.received,
                ahead_ms=ahead_ms,
            )
            for offer in welcome.offers
            if offer.lane in DOWN
        ]
        wants = await handshake.recover_inboxes(inboxes, welcome.offers, self._limits.window)
        start = Start(incarnation=self._incarnation, begins=begins, wants=wants)
        await stream.write(Frame(start=start))
        begun = (await expect(stream, "begun")).begun
        self._sending = {lane.name: lane for lane in sending}
        self._inboxes = handshake.begin_receiving(inboxes, begun.begins)
        theirs = handshake.schemas_from_wire(welcome.schemas)
        return Link(
            stream=stream,
            limits=self._limits,
            sending=sending,
            inboxes=self._inboxes,
            unknown_schemas=frozenset(self._schemas.keys() - theirs.keys()),
            site=self._parts.received,
        )

    def _report_losses(self, begins: Sequence[Begin]) -> None:
        for begin in begins:
            level = logging.ERROR if begin.lost else logging.INFO
            log.log(
                level, "lane %s: epoch %d from offset %d, %d events lost: %s",
                begin.lane, begin.epoch, begin.offset, begin.lost, begin.reason,
            )  # fmt: skip

    def _open_writer(self) -> ClosableWriter:
        if self._writer is None:
            self._writer = self._parts.writer()
        return self._writer

    async def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.stop()


def _checked(settings: SyncSettings) -> Path:
    problems = []
    if not settings.address:
        problems.append("sync.address: give host:port of the Cloud's sync")
    if not settings.edge_key:
        problems.append("sync.edge_key: give the key that the Cloud made for this Edge")
    secret_file = settings.edge_secret_file
    files = {"sync.edge_secret_file": secret_file, "sync.ca_file": settings.ca_file}
    for name, path in files.items():
        if path is not None and not path.is_file():
            problems.append(f"{name}: there is no file {path}")
    if secret_file is None:
        problems.append("sync.edge_secret_file: name the file with this Edge's secret")
    try:
        if settings.address:
            split_address(settings.address)
        if settings.fingerprint:
            parsed_fingerprint(settings.fingerprint)
    except InvalidSettings as error:
        problems.append(f"sync: {error}")
    if settings.fingerprint and settings.ca_file:
        problems.append("sync.fingerprint and sync.ca_file: give one of them")
    if problems or secret_file is None:
        raise InvalidSettings("\n".join(problems))
    return secret_file


def _ahead(cloud_ms: int, here_ms: int) -> int:
    """How far the Cloud's clock is ahead of ours; 0 where it is not told, or the difference is
    one that the way of the answer alone may make."""
    ahead = cloud_ms - here_ms if cloud_ms else 0
    if abs(ahead) < _CLOCKS_AGREE_MS:
        return 0
    if abs(ahead) >= _CLOCKS_DIFFER_MS:
        log.warning(
            "the clock here is %.0f s %s that of the Cloud: which of two changes of an attribute "
            "is the newer one is decided by these clocks. Set one of them",
            abs(ahead) / 1000, "behind" if ahead > 0 else "ahead of",
        )  # fmt: skip
    return ahead
