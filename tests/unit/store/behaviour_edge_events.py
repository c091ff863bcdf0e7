"""The Edge queue of every store."""

import pytest

from edgeferry.core.ids import new_entity_id
from edgeferry.core.store import EdgeEventRow, QueuedEvent, QueueEnds, QueueHead
from tests.unit.store.bench import Bench, T

LANE, OTHER = "edge-events", "edge-events-ts"


def row(edge_id: str, offset: int, *, lane: str = LANE, source: str = "a/0") -> EdgeEventRow:
    return EdgeEventRow(
        edge_id, lane, source, offset, 5, "ATTRIBUTES_UPDATED", "DEVICE", "DEVICE",
        new_entity_id(), f"uid {offset}", "00-abc", "cloud", b"%d\0" % offset * 10,
    )  # fmt: skip


class EdgeEventBehaviour:
    @pytest.mark.asyncio
    async def test_each_lane_of_an_edge_is_a_dense_sequence(self, bench: Bench) -> None:
        queue, edge, second = bench.store.edge_events, new_entity_id(), new_entity_id()
        given = [row(edge, 3), row(edge, 4, lane=OTHER), row(second, 5), row(edge, 9)]
        await queue.append(given)
        assert await queue.ends(edge, LANE) == QueueEnds(0, 2)
        assert await queue.ends(edge, OTHER) == QueueEnds(0, 1)
        assert await queue.ends(new_entity_id(), LANE) == QueueEnds(0, 0)
        events = await queue.read(edge, LANE, 0, 10_000)
        assert [(event.seq, event.uid, event.value) for event in events] == [
            (0, "uid 3", given[0].value), (1, "uid 9", given[3].value),
        ]  # fmt: skip
        assert events[0].entity_id == given[0].entity_id

    @pytest.mark.asyncio
    async def test_a_repeated_append_adds_nothing(self, bench: Bench) -> None:
        queue, edge = bench.store.edge_events, new_entity_id()
        await queue.append([row(edge, 1), row(edge, 2)])
        await bench.reopen()
        queue = bench.store.edge_events
        await queue.append([row(edge, 1), row(edge, 2), row(edge, 3)])
        assert [event.uid for event in await queue.read(edge, LANE, 0, 10_000)] == [
            "uid 1", "uid 2", "uid 3",
        ]  # fmt: skip

    @pytest.mark.asyncio
    async def test_a_log_that_was_made_anew_starts_from_its_own_offset(self, bench: Bench) -> None:
        queue, edge = bench.store.edge_events, new_entity_id()
        await queue.append([row(edge, 100)])
        await queue.append([row(edge, 0, source="b/0")])
        assert await queue.ends(edge, LANE) == QueueEnds(0, 2)

    @pytest.mark.asyncio
    async def test_reading_stops_at_the_bytes_but_gives_one(self, bench: Bench) -> None:
        queue, edge = bench.store.edge_events, new_entity_id()
        await queue.append([row(edge, offset) for offset in range(5)])
        assert [event.seq for event in await queue.read(edge, LANE, 1, 45)] == [1, 2]
        assert [event.seq for event in await queue.read(edge, LANE, 4, 1)] == [4]
        assert await queue.read(edge, LANE, 5, 100) == []
        assert await queue.size(edge, LANE, 3) == 40

    @pytest.mark.asyncio
    async def test_dropped_events_leave_the_sequence_where_it_was(self, bench: Bench) -> None:
        queue, edge = bench.store.edge_events, new_entity_id()
        await queue.append([row(edge, offset) for offset in range(4)])
        await queue.drop(edge, LANE, 3)
        assert await queue.ends(edge, LANE) == QueueEnds(3, 4)
        await queue.drop(edge, LANE, 9)
        assert await queue.ends(edge, LANE) == QueueEnds(4, 4)
        await queue.append([row(edge, 2), row(edge, 4)])
        assert [event.seq for event in await queue.read(edge, LANE, 0, 1_000)] == [4]

    @pytest.mark.asyncio
    async def test_old_and_too_many_events_go(self, bench: Bench) -> None:
        queue, edge = bench.store.edge_events, new_entity_id()
        await queue.append([row(edge, offset) for offset in range(4)])
        before_ms = (await queue.read(edge, LANE, 0, 1_000))[0].queued_ms
        others = sum([one.end - one.start for one in await queue.heads()]) - 4
        gone = await queue.expire(before_ms, 3)
        assert gone in range(1, 2 + others)
        assert await queue.ends(edge, LANE) == QueueEnds(1, 4)
        assert await queue.expire(before_ms + 1, 3) == 4 + others - gone
        assert await queue.ends(edge, LANE) == QueueEnds(4, 4)

    @pytest.mark.asyncio
    async def test_events_of_an_edge_are_found_by_time_page_by_page(self, bench: Bench) -> None:
        queue, edge = bench.store.edge_events, new_entity_id()
        await queue.append([row(edge, offset) for offset in range(3)])
        await queue.append([row(edge, 0, lane=OTHER)])
        now = (await queue.read(edge, LANE, 0, 1_000))[0].queued_ms
        first, total = await queue.find(edge, now, now + 60_000, 2)
        rest, _ = await queue.find(edge, now, now + 60_000, 2, skip=2)
        assert total == 4
        found = {(event.lane, event.seq) for event in (*first, *rest)}
        assert found == {(LANE, 0), (LANE, 1), (LANE, 2), (OTHER, 0)}
        assert await queue.find(edge, now - 10, now, 9) == ([], 0)

    @pytest.mark.asyncio
    async def test_a_queue_of_another_store_goes_on_in_this_one(self, bench: Bench) -> None:
        queue, edge = bench.store.edge_events, new_entity_id()
        day = 86_400_000
        events = [
            QueuedEvent(LANE, seq, at, 5, "ADDED", "DEVICE", "DEVICE", edge, f"{seq}", "", "", b"x")
            for seq, at in ((7, T), (8, T + day), (9, T + day - 1), (10, T + 2 * day))
        ]
        for _ in range(2):
            await queue.restore(edge, events[:3])
            await queue.restore(edge, events[2:])
        heads = [
            QueueHead(edge, LANE, 7, 11, {"a/0": 5}),
            QueueHead(edge, OTHER, 12, 12, {"a/0": 6, "b/1": 1}),
        ]
        await queue.restore_heads(heads)
        await bench.reopen()
        queue = bench.store.edge_events
        assert [one for one in await queue.heads() if one.edge_id == edge] == heads
        await queue.append([row(edge, 4), row(edge, 5), row(edge, 6, lane=OTHER)])
        held: list[int] = []
        while some := await queue.read(edge, LANE, held[-1] + 1 if held else 0, 1_000):
            held += [event.seq for event in some]
        assert held == [7, 8, 9, 10, 11]
        assert await queue.read(edge, LANE, 9, 1) == [events[2]]
        assert await queue.ends(edge, OTHER) == QueueEnds(12, 13)
        found, _ = await queue.find(edge, T + day - 1, T + day + 1, 9)
        assert [event.seq for event in found if event.lane == LANE] == [8, 9]
