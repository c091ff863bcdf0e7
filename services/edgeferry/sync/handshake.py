"""What the two sides tell each other first, in protobuf and in our own words."""

from collections.abc import Iterable, Mapping
from typing import Final

import grpc
from fastavro.schema import fingerprint, to_parsing_canonical_form

from edgeferry.core.store import Position, PositionStore
from edgeferry.log.schemas import registered_schemas
from edgeferry.runtime.settings import SyncSettings
from edgeferry.runtime.tls_pins import Trust
from edgeferry.sync import sync_pb2 as pb
from edgeferry.sync.flow import ProtocolError
from edgeferry.sync.inbox import Inbox
from edgeferry.sync.outbox import Outbox
from edgeferry.sync.resume import Begin, Want
from edgeferry.sync.sending import LinkLimits, Sending

VERSION = 1
"""Of the protocol. Raised only by a change that the other side cannot ignore."""

METHOD = "/edgeferry.sync.v1.Sync/Session"
MAX_FRAME_BYTES = 17 * 1024 * 1024

KEEPALIVE_OPTIONS = (
    # A peer whose answers are no longer wanted by anybody is left alone after a minute; a link
    # that is half open ends earlier, by its silence (see ``link``). An earlier timeout of a
    # ping's would end slow links: its answer stands in line behind all that is under way.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.http2.ping_timeout_ms", 60_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES),
)

INCARNATION: Final = "sync/incarnation"
"""The identity of a site's store, under which the position store keeps it."""

Schemas = Mapping[int, bytes]
"""Schema id to the fingerprint of its canonical form."""


def channel(settings: SyncSettings, trust: Trust) -> grpc.aio.Channel:
    """The Edge's, to the Cloud; it connects with its first call."""
    options: list[tuple[str, int | str]] = list(KEEPALIVE_OPTIONS)
    name = settings.server_name or trust.server_name
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    credentials = grpc.ssl_channel_credentials(root_certificates=trust.root)
    return grpc.aio.secure_channel(settings.address, credentials, options=options)


def our_schemas() -> Schemas:
    return {
        id_: bytes.fromhex(fingerprint(to_parsing_canonical_form(schema.parsed), "CRC-64-AVRO"))
        for id_, schema in registered_schemas().items()
    }


def schemas_to_wire(schemas: Schemas) -> list[pb.Schema]:
    return [pb.Schema(id=id_, fingerprint=print_) for id_, print_ in schemas.items()]


def schemas_from_wire(schemas: Iterable[pb.Schema]) -> Schemas:
    return {schema.id: schema.fingerprint for schema in schemas}


def schema_conflicts(ours: Schemas, theirs: Schemas) -> list[int]:
    """Ids that stand for different schemas on the two sides."""
    return sorted(id_ for id_ in ours.keys() & theirs.keys() if ours[id_] != theirs[id_])


async def offers(outboxes: Iterable[Outbox]) -> list[pb.Offer]:
    """Raises LogUnavailable, StoreUnavailable."""
    found = []
    for outbox in outboxes:
        epoch, start, end = await outbox.offer()
        found.append(pb.Offer(lane=outbox.lane, epoch=epoch, start=start, end=end))
    return found


async def begin_sending(
    outboxes: Iterable[Outbox], wants: Iterable[pb.Want], peer: str, limits: LinkLimits
) -> tuple[list[Sending], list[pb.Begin]]:
    """The lanes that the peer wants, in order of precedence, and what to tell it.

    Raises LogUnavailable, StoreUnavailable, OffsetOutOfRange."""
    wanted = {want.lane: want for want in wants}
    sending: list[Sending] = []
    begins: list[pb.Begin] = []
    for outbox in outboxes:
        asked = wanted.get(outbox.lane)
        if asked is None:
            continue
        want = Want(asked.epoch, asked.offset, asked.seen, asked.last)
        begin = await outbox.resume(want, peer)
        lane = Sending(outbox, limits)
        lane.lane.begin(begin, want, asked.window)
        sending.append(lane)
        begins.append(
            pb.Begin(
                lane=outbox.lane,
                epoch=begin.epoch,
                offset=begin.offset,
                lost=begin.lost,
                reason=begin.reason,
            )
        )
    return sending, begins


async def recover_inboxes(
    inboxes: Iterable[Inbox], offered: Iterable[pb.Offer], window: int
) -> list[pb.Want]:
    """Raises LogUnavailable, StoreUnavailable."""
    ends = {offer.lane: offer.end for offer in offered}
    wants = []
    for inbox in inboxes:
        want = await inbox.recover()
        inbox.made = max(inbox.made, ends[inbox.name])
        wants.append(pb.Want(lane=inbox.name, window=window, **want._asdict()))
    return wants


def begin_receiving(inboxes: Iterable[Inbox], begins: Iterable[pb.Begin]) -> list[Inbox]:
    """The lanes that the peer really sends. Raises ProtocolError."""
    by_name = {inbox.name: inbox for inbox in inboxes}
    begun = []
    for told in begins:
        inbox = by_name.pop(told.lane, None)
        if inbox is None:
            raise ProtocolError(f"lane {told.lane!r} begins twice, or was not asked for")
        inbox.begin(Begin(told.epoch, told.offset, told.lost, told.reason))
        begun.append(inbox)
    return begun


async def incarnation_of(positions: PositionStore, fresh: str) -> str:
    """This site's incarnation: kept with its positions, so lost when they are lost. Then
    ``fresh`` becomes the new one. Raises StoreUnavailable."""
    stored = await positions.load(INCARNATION)
    if stored is not None:
        return stored.incarnation
    await positions.save(INCARNATION, Position(0, 0, fresh))
    return fresh
