"""Events that cannot pass the link: who sets them aside, and that nobody waits for them."""

import asyncio
from pathlib import Path

import pytest

from edgeferry.core.record import Headers, Outgoing
from edgeferry.log.codec import decode_dead_letter
from tests.unit.sync.links import Pair, until


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.mark.parametrize("at", [[0], [2], [4], [1, 3], [0, 1, 2, 3, 4]])
@pytest.mark.asyncio
async def test_an_event_that_cannot_be_packed_becomes_a_dead_letter_at_its_sender(
    pair: Pair, at: list[int]
) -> None:
    unfit: Headers = [("h", None)]  # type: ignore[list-item]
    for number in range(5):
        if number in at:
            pair.edge.log.add(Outgoing("edge.cloud-events", b"k", b"unfit", unfit))
        else:
            pair.edge.produce("cloud-events", [number])
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: len(pair.edge.log.records("edge.dead-letters")) == len(at))
        pair.edge.produce("cloud-events", [5])
        await until(lambda: edge.status().lanes["cloud-events"].acked == 6)
    assert pair.arrived() == [number for number in range(6) if number not in at]
    assert pair.offsets() == pair.arrived()
    letters = [decode_dead_letter(r.value) for r in pair.edge.log.records("edge.dead-letters")]
    assert [letter.offset for letter in letters] == at
    assert {(letter.topic, letter.value, letter.node) for letter in letters} == {
        ("edge.cloud-events", b"unfit", "sync")
    }
    assert pair.edge.dead_lettered == ["cloud-events"] * len(at)


@pytest.mark.parametrize("sent_before", [0, 3])
@pytest.mark.asyncio
async def test_one_that_stands_last_is_set_aside_once_and_waits_for_nobody(
    pair: Pair, sent_before: int
) -> None:
    unfit: Headers = [("h", None)]  # type: ignore[list-item]
    pair.edge.produce("cloud-events", range(sent_before))
    for value in (b"unfit", b"too"):
        pair.edge.log.add(Outgoing("edge.cloud-events", b"k", value, unfit))
    async with pair.cloud_runs():
        for _ in range(3):
            async with pair.edge_runs() as edge:
                await until(lambda: edge.status().connected)
                await until(lambda: len(pair.edge.log.records("edge.dead-letters")) == 2)
                await until(lambda: len(pair.arrived()) == sent_before)
                lane = edge._sending["cloud-events"]
                await asyncio.wait_for(lane.idle.wait(), 5)
                figures = await lane.outbox.figures()
                assert (figures.depth, figures.oldest_ms) == (0, None)
        beside = pair.edge.outbox("cloud-events")
        assert (await beside.figures()).depth == 0
        pair.edge.produce("cloud-events", [sent_before])
        assert (await beside.figures()).depth == 1
        async with pair.edge_runs() as edge:
            end = sent_before + 3
            await until(lambda: edge.status().lanes["cloud-events"].acked == end)
    assert pair.arrived() == list(range(sent_before + 1))
    letters = pair.edge.log.records("edge.dead-letters")
    assert [decode_dead_letter(letter.value).value for letter in letters] == [b"unfit", b"too"]


@pytest.mark.asyncio
async def test_what_was_set_aside_in_another_log_says_nothing_of_this_one(pair: Pair) -> None:
    unfit: Headers = [("h", None)]  # type: ignore[list-item]
    pair.edge.log.add(Outgoing("edge.cloud-events", b"k", b"unfit", unfit))
    async with pair.cloud_runs(), pair.edge_runs():
        await until(lambda: len(pair.edge.log.records("edge.dead-letters")) == 1)
    pair.edge.log.make("edge.cloud-events", 1)
    beside = pair.edge.outbox("cloud-events")
    assert (await beside.figures()).depth == 0
    pair.edge.topics.incarnation = " made anew"
    pair.edge.produce("cloud-events", [0])
    beside = pair.edge.outbox("cloud-events")
    assert (await beside.figures()).depth == 1


@pytest.mark.asyncio
async def test_an_event_too_large_for_the_cloud_becomes_a_dead_letter_there(pair: Pair) -> None:
    pair.cloud.max_record_bytes = 5000
    pair.edge.produce("cloud-events", [0])
    pair.edge.log.add(Outgoing("edge.cloud-events", b"k", b"x" * 4900, ()))
    pair.edge.produce("cloud-events", [2])
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().lanes["cloud-events"].acked == 3)
    assert pair.arrived() == [0, 2]
    (letter,) = pair.cloud.log.records("cloud.dead-letters")
    assert decode_dead_letter(letter.value).offset == 1


@pytest.mark.parametrize(
    ("key", "headers"),
    [
        pytest.param(b"k", [("h", b"x" * 5000)], id="a header's value"),
        pytest.param(b"k", [("h" * 5000, b"x")], id="a header's name"),
        pytest.param(b"k", [("\u20ac" * 1600, b"x")], id="a name's bytes"),
        pytest.param(b"k", [("h", b"")] * 600, id="the number of headers"),
        pytest.param(b"x" * 5000, [], id="key"),
    ],
)
@pytest.mark.asyncio
async def test_so_does_an_event_whose_key_or_headers_are_too_large(
    pair: Pair, key: bytes, headers: list[tuple[str, bytes]]
) -> None:
    pair.cloud.max_record_bytes = 5000
    pair.edge.produce("cloud-events", [0])
    pair.edge.log.add(Outgoing("edge.cloud-events", key, b"small", headers))
    pair.edge.produce("cloud-events", [2])
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().lanes["cloud-events"].acked == 3)
    assert pair.arrived() == [0, 2]
    (record,) = pair.cloud.log.records("cloud.dead-letters")
    letter = decode_dead_letter(record.value)
    assert (letter.offset, letter.error_class) == (1, "RecordTooLarge")
    assert (letter.key, letter.value, list(letter.headers[: len(headers)])) == (
        key, b"small", headers,
    )  # fmt: skip


@pytest.mark.asyncio
async def test_a_dead_letter_is_whole_up_to_four_times_what_an_event_may_have(pair: Pair) -> None:
    sizes = (4_000_000, 4_300_000)
    for size in sizes:
        pair.edge.log.add(Outgoing("edge.cloud-events", b"k", b"x" * size, ()))
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().lanes["cloud-events"].acked == len(sizes))
    whole, address = pair.cloud.log.records("cloud.dead-letters")
    assert decode_dead_letter(whole.value).value == b"x" * sizes[0]
    assert decode_dead_letter(address.value).value is None
    assert pair.cloud.dead_lettered == ["cloud-events"] * 2


@pytest.mark.asyncio
async def test_the_limit_is_exact_whatever_else_is_in_the_batch(pair: Pair) -> None:
    pair.cloud.max_record_bytes = 5000
    sizes = range(4000, 5000, 100)
    for size in sizes:
        pair.edge.log.add(Outgoing("edge.cloud-events", b"k", b"x" * size, [("h", b"x" * 200)]))
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().lanes["cloud-events"].acked == len(sizes))
    taken = [len(r.value or b"") for r in pair.cloud.log.records("cloud.cloud-events")]
    assert taken == [size for size in sizes if size <= 4400]
    assert len(pair.cloud.log.records("cloud.dead-letters")) == len(sizes) - len(taken)


@pytest.mark.asyncio
async def test_what_the_log_refuses_by_a_limit_of_its_own_becomes_a_dead_letter(
    pair: Pair,
) -> None:
    pair.cloud.limits["cloud.cloud-events"] = 3000
    large = [2, 5, 6]
    for number in range(9):
        padding = b"x" * (4000 if number in large else 0)
        value = b"\0\0\0\0\2%sevent %d" % (padding, number)
        pair.edge.log.add(Outgoing("edge.cloud-events", b"k%d" % (number % 4), value, ()))
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().lanes["cloud-events"].acked == 9)
        pair.edge.produce("cloud-events", [9])
        await until(lambda: edge.status().lanes["cloud-events"].acked == 10)
    # those before a refused one may come twice, which the intake takes out; none is missing
    assert sorted(set(pair.arrived())) == [n for n in range(10) if n not in large]
    letters = [decode_dead_letter(r.value) for r in pair.cloud.log.records("cloud.dead-letters")]
    assert sorted(letter.offset for letter in letters) == large
    for letter in letters:
        assert letter.value is not None
        assert len(letter.value) > 4000
        assert (letter.error_class, letter.topic) == ("RecordTooLarge", "cloud.cloud-events")
        assert "max.message.bytes of cloud.cloud-events" in letter.error_text
    assert pair.cloud.dead_lettered == ["cloud-events"] * len(large)


@pytest.mark.parametrize(("limit", "key"), [(2000, b"k"), (550, None)])
@pytest.mark.asyncio
async def test_where_the_whole_letter_is_refused_too_a_short_one_tells_of_it(
    pair: Pair, limit: int, key: bytes | None
) -> None:
    pair.cloud.limits["cloud.cloud-events"] = 3000
    pair.cloud.limits["cloud.dead-letters"] = limit
    pair.edge.produce("cloud-events", [0])
    large = Outgoing("edge.cloud-events", b"k", b"x" * 4000, [("h", b"x" * 500)])
    pair.edge.log.add(large)
    pair.edge.produce("cloud-events", [2])
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().lanes["cloud-events"].acked == 3)
    assert sorted(set(pair.arrived())) == [0, 2]
    (record,) = pair.cloud.log.records("cloud.dead-letters")
    letter = decode_dead_letter(record.value)
    assert (letter.value, letter.key, letter.offset) == (None, key, 1)
    assert "event of 4" in letter.error_text
    assert "sender's log alone" in letter.error_text


@pytest.mark.asyncio
async def test_where_no_letter_at_all_is_taken_the_lane_waits_and_loses_nothing(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.cloud.limits.update({"cloud.cloud-events": 3000, "cloud.dead-letters": 10})
    pair.edge.log.add(Outgoing("edge.cloud-events", b"k", b"x" * 4000, ()))
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: "Raise the limit" in caplog.text)
        pair.cloud.limits.clear()
        await until(lambda: edge.status().lanes["cloud-events"].acked == 1)
    assert len(pair.cloud.log.records("cloud.cloud-events")) == 1
    assert pair.cloud.log.records("cloud.dead-letters") == []
