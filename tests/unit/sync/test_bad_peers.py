"""A peer that breaks the rules of the link ends its own session, clearly, and nothing else."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
import zstandard

from edgeferry.core.record import Record
from edgeferry.sync import handshake
from edgeferry.sync.batches import MAX_BATCH_BYTES, BatchPacker
from edgeferry.sync.sync_pb2 import (
    Ack,
    Batch,
    Begin,
    Credit,
    Frame,
    Goodbye,
    Hello,
    Offer,
    Schema,
    Start,
    Welcome,
)
from tests.unit.sync.links import Pair, until

LANE = "cloud-events"


class Peer:
    """An Edge by hand."""

    def __init__(self, pair: Pair, call: grpc.aio.StreamStreamCall) -> None:
        self.pair = pair
        self.call = call

    async def write(self, frame: Frame | bytes) -> None:
        await self.call.write(frame)

    async def read(self) -> Frame:
        frame = await self.call.read()
        assert isinstance(frame, Frame)
        return frame

    def hello(self) -> Hello:
        assert self.pair.edge_settings.edge_secret_file is not None
        return Hello(
            version=handshake.VERSION,
            edge_key=self.pair.edge_record.key,
            secret=self.pair.edge_settings.edge_secret_file.read_text(),
            offers=[Offer(lane=LANE, epoch=0, start=0, end=10)],
        )

    async def shake_hands(self) -> Welcome:
        await self.write(Frame(hello=self.hello()))
        welcome = (await self.read()).welcome
        await self.write(Frame(start=Start(begins=[Begin(lane=LANE, epoch=1, offset=0)])))
        assert (await self.read()).WhichOneof("kind") == "begun"
        return welcome

    async def refusal(self) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await self.call.read()
        return refused.value.code(), refused.value.details()


@pytest_asyncio.fixture
async def peer(tmp_path: Path) -> AsyncIterator[Peer]:
    pair = Pair(tmp_path)
    async with pair.cloud_runs():
        assert pair.edge_settings.ca_file is not None
        trust = grpc.ssl_channel_credentials(pair.edge_settings.ca_file.read_bytes())
        async with grpc.aio.secure_channel(pair.edge_settings.address, trust) as channel:
            call = channel.stream_stream(
                handshake.METHOD,
                request_serializer=lambda sent: (
                    sent if isinstance(sent, bytes) else sent.SerializeToString()
                ),
                response_deserializer=Frame.FromString,
            )()
            yield Peer(pair, call)
            call.cancel()


def batch(first: int = 0, count: int = 3, lane: str = LANE, epoch: int = 1) -> Batch:
    records = [Record("t", 0, first + i, 0, b"k", b"event %d" % i, ()) for i in range(count)]
    return BatchPacker().pack(lane, epoch, first, records).batch


def bomb() -> Batch:
    data = zstandard.ZstdCompressor().compress(b"\0" * (MAX_BATCH_BYTES + 1))
    return Batch(lane=LANE, epoch=1, from_offset=0, next_offset=9, records=data)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (Frame(batch=batch(first=5)), "was next"),
        (Frame(batch=batch(epoch=2)), "was next"),
        (Frame(batch=batch(lane="nonsense")), "not received"),
        (Frame(batch=Batch(lane=LANE, epoch=1, next_offset=4, records=b"junk")), "zstd"),
        (Frame(batch=bomb()), "at most"),
        (Frame(ack=Ack(lane=LANE, epoch=1, next_offset=4)), "not sent"),
        (Frame(credit=Credit(lane="edge-events", window=4)), "not sent"),
        (Frame(hello=Hello()), "hello in a running session"),
        (Frame(), "nothing in a running session"),
    ],
)
async def test_a_bad_frame_ends_the_session_with_its_reason(
    peer: Peer, frame: Frame, text: str
) -> None:
    await peer.shake_hands()
    await peer.write(frame)
    goodbye = (await peer.read()).goodbye
    assert goodbye.reason == Goodbye.BAD_FRAME
    assert text in goodbye.text
    assert peer.pair.arrived() == []


@pytest.mark.asyncio
async def test_bytes_that_are_no_frame_end_the_session_and_are_no_fault_of_ours(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    await peer.shake_hands()
    await peer.write(b"\xff\xff")
    goodbye = (await peer.read()).goodbye
    assert (goodbye.reason, goodbye.text) == (Goodbye.BAD_FRAME, "bytes that are no frame")
    assert "Traceback" not in caplog.text


@pytest.mark.asyncio
async def test_who_begins_with_them_is_refused(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    await peer.write(b"\xff\xff")
    assert await peer.refusal() == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "no hello: bytes that are no frame",
    )
    assert "Traceback" not in caplog.text


@pytest.mark.asyncio
async def test_what_came_before_a_bad_frame_is_kept(peer: Peer) -> None:
    await peer.shake_hands()
    await peer.write(Frame(batch=batch()))
    assert (await peer.read()).ack.next_offset == 3
    await peer.write(Frame(batch=batch(first=9)))
    assert (await peer.read()).goodbye.reason == Goodbye.BAD_FRAME
    assert len(peer.pair.arrived()) == 3
    name = f"sync/{peer.pair.edge_record.id}/{LANE}"
    await until(lambda: peer.pair.cloud.positions.saved[name].offset == 3)


@pytest.mark.asyncio
async def test_an_edge_cannot_speak_for_another(peer: Peer) -> None:
    """Whatever its headers say, the edge of a record is that of the session."""
    await peer.shake_hands()
    forged = Record(
        "t", 0, 0, 0, b"k", b"event 0", [("edge", b"x"), ("epoch", b"9"), ("offset", b"9")]
    )
    await peer.write(Frame(batch=BatchPacker().pack(LANE, 1, 0, [forged]).batch))
    assert (await peer.read()).ack.next_offset == 1
    (record,) = peer.pair.cloud.log.records("cloud.cloud-events")
    assert [value for name, value in record.headers[-3:]] == [
        peer.pair.edge_record.id.encode(), b"1", b"0",
    ]  # fmt: skip


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        (Hello(edge_key="nobody"), grpc.StatusCode.UNAUTHENTICATED, "nobody"),
        (Hello(secret="wrong"), grpc.StatusCode.UNAUTHENTICATED, "is wrong"),
        (Hello(version=99), grpc.StatusCode.FAILED_PRECONDITION, "upgrade"),
        (
            Hello(schemas=[Schema(id=2, fingerprint=b"another")]),
            grpc.StatusCode.FAILED_PRECONDITION,
            "schema ids [2]",
        ),
    ],
)
async def test_a_hello_that_cannot_be_is_refused_with_what_to_do(
    peer: Peer, changed: Hello, code: grpc.StatusCode, text: str
) -> None:
    hello = peer.hello()
    hello.MergeFrom(changed)
    await peer.write(Frame(hello=hello))
    found, details = await peer.refusal()
    assert found is code
    assert text in details


@pytest.mark.asyncio
async def test_a_session_that_does_not_begin_with_hello_is_refused(peer: Peer) -> None:
    await peer.write(Frame(batch=batch()))
    assert (await peer.refusal())[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.asyncio
async def test_lanes_of_a_newer_version_are_left_alone(peer: Peer) -> None:
    hello = peer.hello()
    hello.offers.append(Offer(lane="video-events", end=1))
    await peer.write(Frame(hello=hello))
    welcome = (await peer.read()).welcome
    assert [want.lane for want in welcome.wants] == [LANE]


@pytest.mark.asyncio
async def test_a_silent_connection_does_not_hold_up_the_clouds_stop(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    async with asyncio.timeout(5):
        async with pair.cloud_runs():
            assert pair.edge_settings.ca_file is not None
            trust = grpc.ssl_channel_credentials(pair.edge_settings.ca_file.read_bytes())
            channel = grpc.aio.secure_channel(pair.edge_settings.address, trust)
            call = channel.stream_stream(handshake.METHOD)()
            await call.wait_for_connection()
        call.cancel()
        await channel.close()
