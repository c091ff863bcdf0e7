"""The Cloud's end of the link: listens, holds edges back when the chain lags."""

import asyncio
import contextlib
import logging
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from edgeferry.core.errors import InvalidSettings, LogUnavailable, Stop
from edgeferry.log.topics import site_topic
from edgeferry.runtime.service import Health
from edgeferry.runtime.settings import SyncSettings
from edgeferry.sync import handshake
from edgeferry.sync.edges import Edge, Edges
from edgeferry.sync.ending import SessionEnded
from edgeferry.sync.handed_on import is_past
from edgeferry.sync.inbox import Checkpoint
from edgeferry.sync.lane_rate import LaneRate
from edgeferry.sync.lane_status import ReceivedLane, SentLane, received_lane
from edgeferry.sync.lanes import UP
from edgeferry.sync.sending import LinkLimits
from edgeferry.sync.sessions import (
    CloudSyncParts,
    Refused,
    Session,
    Sessions,
    position_name,
)
from edgeferry.sync.streams import ContextStream
from edgeferry.sync.sync_pb2 import Frame, Goodbye

_WATCH_SECONDS = 0.5
_STOP_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EdgeStatus:
    """``lanes``: that it sends; ``down``: that it gets. ``sending_all``: it gets all that is
    assigned to it again, because a store was lost."""

    id: str
    name: str
    connected: bool
    lanes: Sequence[ReceivedLane]
    down: Sequence[SentLane] = ()
    sending_all: bool = False


class CloudSync:
    """A Service."""

    def __init__(self, *, settings: SyncSettings, parts: CloudSyncParts) -> None:
        """Raises InvalidSettings naming every setting that is missing."""
        self._tls, edges_file = _checked(settings)
        self._listen = settings.listen
        self._parts = parts
        self._edges = Edges(edges_file)
        limits = LinkLimits(
            batch_bytes=settings.batch_bytes,
            in_flight=settings.in_flight,
            window=settings.batch_bytes * settings.in_flight,
        )
        self._limits = limits
        self._sessions = Sessions(edges=self._edges, parts=parts, limits=limits)
        self._serving: dict[asyncio.Task[None], list[Session]] = {}
        self._server: grpc.aio.Server | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stopping = False
        self._behind = False
        self._rates: defaultdict[tuple[str, str], LaneRate] = defaultdict(LaneRate)
        self._held_back = ""
        self.port = 0

    @property
    def name(self) -> str:
        return "sync"

    async def start(self) -> None:
        """Raises Stop when the port is taken."""
        server = grpc.aio.server(
            options=[*handshake.KEEPALIVE_OPTIONS, ("grpc.so_reuseport", 0)],
        )
        method = grpc.stream_stream_rpc_method_handler(
            self._handle,
            request_deserializer=Frame.FromString,
            response_serializer=Frame.SerializeToString,
        )
        _, service, name = handshake.METHOD.split("/")
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {name: method}),)
        )
        host, port = self._listen.host, self._listen.port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = server.add_secure_port(address, self._tls)
        except RuntimeError as error:
            raise Stop(
                f"sync cannot listen on {address}: the port is taken or not ours; free it or "
                "set sync.listen"
            ) from error
        await server.start()
        self._server = server
        self._watcher = asyncio.create_task(self._watch(), name="sync watch")

    async def stop(self) -> None:
        """Ends every session after its append under way."""
        self._stopping = True
        for serving, sessions in self._serving.items():
            if not sessions:  # no hello yet
                serving.cancel()
        for session in self._sessions.all():
            session.end(SessionEnded(Goodbye.STOPPING, "the Cloud stops"))
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        if self._serving:
            await asyncio.wait(self._serving, timeout=_STOP_SECONDS)
        await self._sessions.drop_writer()  # ends an append that cannot end by itself
        if self._server is not None:
            await self._server.stop(1)
        if self._serving:
            await asyncio.wait(self._serving, timeout=_STOP_SECONDS)

    def health(self) -> Health:
        alive = self._watcher is not None and not self._watcher.done()
        return Health(alive=alive, ready=alive, detail=self._held_back if alive else "")

    async def edges(self) -> list[EdgeStatus]:
        """Every edge of the file with its positions: the proof of completeness.

        Raises StoreUnavailable, InvalidSettings."""
        return [await self._status(edge) for edge in self._edges.all()]

    async def _status(self, edge: Edge) -> EdgeStatus:
        session = self._sessions.live(edge.id)
        if session is not None:
            lanes = [
                received_lane(inbox, self._rate(edge.id, inbox.name)) for inbox in session.inboxes
            ]
            down = await self._down(edge.id)
            return EdgeStatus(edge.id, edge.name, True, lanes, down, self._sending_all(edge.id))
        away = [lane for name in UP if (lane := await self._away(edge.id, name)) is not None]
        down = await self._down(edge.id)
        return EdgeStatus(edge.id, edge.name, False, away, down, self._sending_all(edge.id))

    def _sending_all(self, edge_id: str) -> bool:
        return self._parts.all_down is not None and self._parts.all_down.under_way(edge_id)

    async def _away(self, edge_id: str, lane: str) -> ReceivedLane | None:
        """As its last session left it. Raises StoreUnavailable."""
        received = self._parts.received
        stored = await received.positions.load(position_name(edge_id, lane))
        if stored is None:
            return None
        kept = Checkpoint.unpack(stored)
        at, applied = kept.position.offset, None
        if received.committed is not None:
            with contextlib.suppress(LogUnavailable):
                done = await received.committed(site_topic(received.site, lane))
                applied = at if is_past(done, kept.ends) else None
        return ReceivedLane(
            lane=lane,
            epoch=kept.position.epoch,
            made=kept.made,
            received=at,
            acked=at,
            lost=kept.lost,
            sent=at,
            applied=applied,
            depth=max(0, kept.made - at),
            rate=self._rate(edge_id, lane),
        )

    def _rate(self, edge_id: str, lane: str) -> float:
        rate = self._rates.get((edge_id, lane))
        return rate.per_second(self._parts.received.clock.monotonic()) if rate else 0.0

    def _sample_rates(self) -> None:
        now = self._parts.received.clock.monotonic()
        for session in self._sessions.all():
            edge_id = session.edge.id
            up = [(one.name, one.lane.epoch, one.lane.received) for one in session.inboxes]
            down = [
                (outbox.lane, outbox.session.epoch, outbox.session.acked)
                for outbox in self._parts.down(edge_id)
                if outbox.session is not None
            ]
            for lane, epoch, count in (*up, *down):
                self._rates[edge_id, lane].sample(now, epoch, count)

    async def _down(self, edge_id: str) -> list[SentLane]:
        now_ms = self._parts.received.clock.now_ms()
        lanes = []
        for outbox in self._parts.down(edge_id):
            figures = await outbox.figures()
            session = outbox.session
            age = None if figures.oldest_ms is None else max(0, now_ms - figures.oldest_ms)
            epoch, (applied_epoch, applied) = outbox.epoch, outbox.applied
            lanes.append(
                SentLane(
                    lane=outbox.lane,
                    epoch=epoch,
                    made=figures.end,
                    sent=session.next_offset if session else figures.acked,
                    acked=figures.acked,
                    depth=figures.end - figures.first,
                    oldest_age_ms=age,
                    lost=figures.dropped,
                    received=figures.acked,
                    applied=applied if epoch and applied_epoch == epoch else None,
                    rate=self._rate(edge_id, outbox.lane),
                )
            )
        return lanes

    async def _handle(self, _frames: object, context: grpc.aio.ServicerContext) -> None:
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the Cloud stops")
        sessions: list[Session] = []
        # A task of its own: gRPC cancels the handler when the connection breaks, and an
        # append under way must then still be waited for.
        serving = asyncio.create_task(
            self._sessions.serve(ContextStream(context), context.peer(), sessions.append),
            name="sync session",
        )
        self._serving[serving] = sessions
        serving.add_done_callback(self._served)
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            for session in sessions:
                session.end(SessionEnded(Goodbye.UNSPECIFIED, "the connection broke"))
            raise
        except Refused as refused:
            log.warning("connection from %s refused: %s", context.peer(), refused)
            await context.abort(refused.code, str(refused))

    def _served(self, serving: "asyncio.Task[None]") -> None:
        del self._serving[serving]
        if not serving.cancelled():
            serving.exception()  # the handler tells it; when it has gone, nobody needs it

    async def _watch(self) -> None:
        while True:
            self._held_back = self._why_held_back()
            self._sessions.window = 0 if self._held_back else self._limits.window
            self._sample_rates()
            admitted = self._admitted()
            for session in self._sessions.all():
                if admitted is not None and session.edge not in admitted:
                    why = _why_ended(session.edge, admitted)
                    session.end(SessionEnded(Goodbye.UNSPECIFIED, why, retry=False))
                if session.link is not None:
                    session.link.credit(self._sessions.window)
            await asyncio.sleep(_WATCH_SECONDS)

    def _why_held_back(self) -> str:
        """Empty while edges may send."""
        pressure, lag = self._parts.backpressure, self._parts.lag()
        if lag > pressure.stop_above:
            self._behind = True
        elif lag < pressure.resume_below:
            self._behind = False
        if full := self._parts.full():
            return f"edges are held back: {full}"
        return "edges are held back until the chain has caught up" if self._behind else ""

    def _admitted(self) -> set[Edge] | None:
        """With their secrets of now. None while the file cannot be read: that ends nobody's
        session."""
        try:
            return set(self._edges.all())
        except InvalidSettings as error:
            log.error("%s", error)
            return None


def _why_ended(edge: Edge, admitted: set[Edge]) -> str:
    if any(other.key == edge.key for other in admitted):
        return (
            f"the secret of edge {edge.name!r} is not right any more, the Cloud has made a new "
            "one: give it to this Edge by the command that `edgeferry edges rotate` printed there"
        )
    return (
        f"edge {edge.name!r} was removed in the Cloud: `edgeferry edges add "
        f"{shlex.quote(edge.name)}` there admits it again"
    )


def _checked(settings: SyncSettings) -> tuple[grpc.ServerCredentials, Path]:
    problems: list[str] = []
    pem: list[bytes] = []
    for name, path in (("key_file", settings.key_file), ("cert_file", settings.cert_file)):
        if path is None or not path.is_file():
            problems.append(f"sync.{name}: name a PEM file that is there (is: {path})")
        else:
            pem.append(path.read_bytes())
    if settings.edges_file is None:
        problems.append("sync.edges_file: name the file with the list of edges")
    if problems or settings.edges_file is None:
        raise InvalidSettings("\n".join(problems))
    return grpc.ssl_server_credentials([(pem[0], pem[1])]), settings.edges_file
