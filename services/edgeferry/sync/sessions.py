"""The Cloud's sessions: one per edge at a time, from hello to goodbye."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import grpc

from edgeferry.core.errors import EdgeferryError, Later, OffsetOutOfRange
from edgeferry.core.ids import new_token
from edgeferry.log.port import ClosableWriter
from edgeferry.sync import handshake
from edgeferry.sync.all_down import AllDown, Met
from edgeferry.sync.edges import Edge, Edges, NotAdmitted
from edgeferry.sync.ending import SessionEnded, Stream, expect
from edgeferry.sync.flow import ProtocolError
from edgeferry.sync.inbox import Inbox, Received
from edgeferry.sync.lanes import GENERAL_DOWN, GENERAL_UP, UP
from edgeferry.sync.link import Link
from edgeferry.sync.outbox import Outbox
from edgeferry.sync.sending import LinkLimits
from edgeferry.sync.sync_pb2 import Begun, Frame, Goodbye, Hello, Welcome
from edgeferry.sync.take_overs import TakeOvers

_HANDSHAKE_SECONDS = 30.0
_REPLACED = (
    "another connection with this Edge's key has taken the place of this one; where that goes on, "
    "two Edges run with it, such as on copies of one data folder: stop one of them"
)

log = logging.getLogger(__name__)


class Refused(EdgeferryError):
    """A session that does not begin; ``code`` is the gRPC status that the Edge gets."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def room_for_all() -> str:
    """For a Cloud whose log and store are on servers that watch their disks themselves."""
    return ""


def no_lanes_down(_edge_id: str) -> Sequence[Outbox]:
    """For a Cloud that sends nothing to its edges."""
    return ()


@dataclass(frozen=True, slots=True)
class Backpressure:
    """Edges keep their backlog while more than ``stop_above`` events wait between the
    received topics and the store, until fewer than ``resume_below`` do."""

    stop_above: int = 50_000
    resume_below: int = 25_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSyncParts:
    """writer: makes the process's log writer, ready to use; made anew after a failure.
    lag: events that wait in the intake and the chains. full: why this site has no room for
    more, empty while it has: edges keep theirs then. down: the lanes that go to an edge, in
    order of precedence. all_down: what is sent to an edge that lost its store; None: nothing is."""

    received: Received
    writer: Callable[[], ClosableWriter]
    lag: Callable[[], int]
    full: Callable[[], str] = room_for_all
    down: Callable[[str], Sequence[Outbox]] = no_lanes_down
    backpressure: Backpressure = Backpressure()
    all_down: AllDown | None = None


def position_name(edge_id: str, lane: str) -> str:
    """Under which the position store keeps how far a lane of an edge has been received."""
    return f"sync/{edge_id}/{lane}"


class Session:
    """One edge's connection, from its hello on."""

    def __init__(self, edge: Edge, peer: str) -> None:
        self.edge = edge
        self.peer = peer
        self.link: Link | None = None
        self.inboxes: Sequence[Inbox] = ()
        self.over = asyncio.Event()
        self.ended: SessionEnded | None = None
        self._greeting: asyncio.Task[Link] | None = None

    def end(self, ended: SessionEnded) -> None:
        self.ended = ended
        if self.link is not None:
            self.link.end(ended)
        elif self._greeting is not None:
            self._greeting.cancel()

    async def greet(self, greeting: "asyncio.Task[Link]") -> Link | None:
        """Wait for the handshake; None when ``end`` came first."""
        self._greeting = greeting
        await asyncio.wait([greeting])
        if greeting.cancelled():
            return None
        self.link = greeting.result()
        return self.link


def _met(session: Session, hello: Hello, store: str, down: Sequence[Outbox], here: str) -> Met:
    """``store``: the identity of the edge's; ``here``: of ours."""
    before, acked = next(
        ((outbox.peer, outbox.kept[1]) for outbox in down if outbox.lane == GENERAL_DOWN), ("", 0)
    )
    return Met(
        edge_id=session.edge.id,
        name=session.edge.name,
        store=store,
        before=before,
        acked=acked,
        here=here,
        end=max((one.end for one in hello.offers if one.lane == GENERAL_UP), default=0),
        lane=next((inbox for inbox in session.inboxes if inbox.name == GENERAL_UP), None),
    )


class Sessions:
    """All sessions of this process and the log writer that they share."""

    def __init__(
        self,
        *,
        edges: Edges,
        parts: CloudSyncParts,
        limits: LinkLimits,
        handshake_seconds: float = _HANDSHAKE_SECONDS,
    ) -> None:
        self._edges = edges
        self._parts = parts
        self._limits = limits
        self._handshake_seconds = handshake_seconds
        self._schemas = handshake.our_schemas()
        self._live: dict[str, Session] = {}
        self._take_overs = TakeOvers(parts.received.clock)
        self._writer: ClosableWriter | None = None
        self.window = limits.window

    def live(self, edge_id: str) -> Session | None:
        """The edge's session when its handshake is done."""
        session = self._live.get(edge_id)
        return session if session is not None and session.link is not None else None

    def all(self) -> list[Session]:
        return list(self._live.values())

    async def serve(self, stream: Stream, peer: str, opened: Callable[[Session], None]) -> None:
        """One connection, until it has ended and every append of it too.

        ``opened`` gets the session when the edge is known. Raises Refused."""
        try:
            async with asyncio.timeout(self._handshake_seconds):
                hello = (await expect(stream, "hello")).hello
        except (SessionEnded, ProtocolError, TimeoutError) as error:
            text = f"no hello: {str(error) or 'timed out'}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, text) from error
        session = Session(self._admit(hello), peer)
        opened(session)
        previous, self._live[session.edge.id] = self._live.get(session.edge.id), session
        try:
            if previous is not None:
                silent = previous.link.silent_seconds if previous.link is not None else 0.0
                previous.end(SessionEnded(Goodbye.REPLACED, _REPLACED))
                await previous.over.wait()
                if previous.ended is not None and previous.ended.reason == Goodbye.REPLACED:
                    self._take_overs.note(session.edge.name, previous.peer, peer, silent)
            if session.ended is None:
                await self._run(session, hello, stream, peer)
        finally:
            session.over.set()
            if self._live.get(session.edge.id) is session:
                del self._live[session.edge.id]

    def _admit(self, hello: Hello) -> Edge:
        if hello.version != handshake.VERSION:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"the Edge speaks sync version {hello.version}, this Cloud {handshake.VERSION}: "
                "upgrade the older one",
            )
        try:
            edge = self._edges.admit(hello.edge_key, hello.secret)
        except NotAdmitted as error:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, str(error)) from error
        conflicts = handshake.schema_conflicts(
            self._schemas, handshake.schemas_from_wire(hello.schemas)
        )
        if conflicts:
            raise Refused(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"schema ids {conflicts} stand for other schemas at the Edge than here: one "
                "of the two runs a build with changed schemas",
            )
        return edge

    async def _run(self, session: Session, hello: Hello, stream: Stream, peer: str) -> None:
        try:
            link = await session.greet(
                asyncio.create_task(self._shake_hands(session, hello, stream))
            )
        except SessionEnded as gone:
            log.info("edge %s from %s went in the handshake: %s", session.edge.name, peer, gone)
            return
        except (Later, OffsetOutOfRange, TimeoutError) as error:
            text = str(error) or "the handshake timed out"
            raise Refused(grpc.StatusCode.UNAVAILABLE, text) from error
        except ProtocolError as error:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        if link is None:
            return
        log.info("edge %s connected from %s", session.edge.name, peer)
        writer = self._open_writer()
        session.ended = ended = await link.run(writer)
        log.info("edge %s disconnected: %s", session.edge.name, ended)
        if link.append_failed:
            await self.drop_writer(writer)

    async def _shake_hands(self, session: Session, hello: Hello, stream: Stream) -> Link:
        async with asyncio.timeout(self._handshake_seconds):
            positions = self._parts.received.positions
            incarnation = await handshake.incarnation_of(positions, new_token())
            inboxes = self._inboxes(session.edge, {offer.lane for offer in hello.offers})
            window = self.window
            outboxes = self._parts.down(session.edge.id)
            welcome = Welcome(
                version=handshake.VERSION,
                edge_id=session.edge.id,
                edge_name=session.edge.name,
                incarnation=incarnation,
                schemas=handshake.schemas_to_wire(self._schemas),
                wants=await handshake.recover_inboxes(inboxes, hello.offers, window),
                offers=await handshake.offers(outboxes),
                now_ms=self._parts.received.clock.now_ms(),
            )
            await stream.write(Frame(welcome=welcome))
            start = (await expect(stream, "start")).start
            session.inboxes = handshake.begin_receiving(inboxes, start.begins)
            if self._parts.all_down is not None:
                met = _met(session, hello, start.incarnation, outboxes, incarnation)
                await self._parts.all_down.meets(met)
            sending, begins = await handshake.begin_sending(
                outboxes, start.wants, start.incarnation, self._limits
            )
            await stream.write(Frame(begun=Begun(begins=begins)))
        theirs = handshake.schemas_from_wire(hello.schemas)
        return Link(
            stream=stream,
            limits=replace(self._limits, window=window),
            sending=sending,
            inboxes=session.inboxes,
            unknown_schemas=frozenset(self._schemas.keys() - theirs.keys()),
            site=self._parts.received,
        )

    def _inboxes(self, edge: Edge, offered: Iterable[str]) -> list[Inbox]:
        return [
            Inbox(
                lane=lane,
                edge_id=edge.id,
                stream=position_name(edge.id, lane),
                received=self._parts.received,
            )
            for lane in UP
            if lane in set(offered)
        ]

    def _open_writer(self) -> ClosableWriter:
        if self._writer is None:
            self._writer = self._parts.writer()
        return self._writer

    async def drop_writer(self, writer: ClosableWriter | None = None) -> None:
        """End a writer after a failed append (the current one when None): nothing that
        stands in it may be delivered after a newer session has begun."""
        doomed = writer or self._writer
        if doomed is not None and doomed is self._writer:
            self._writer = None
            await doomed.stop()
