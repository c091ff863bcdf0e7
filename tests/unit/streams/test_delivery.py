import asyncio
from collections.abc import Sequence

import pytest
from faust.types import TP

from edgeferry.core.record import Record
from edgeferry.streams import delivery
from edgeferry.streams.delivery import Batch
from tests.unit.streams.fakes import P0, P1, TOPIC, Consumer, ConsumerStopped, record, records

pytestmark = pytest.mark.asyncio


async def _deliver(consumer: Consumer, *batches: Sequence[Record]) -> list[Batch]:
    before = len(consumer.delivered)
    for rows in batches:
        await consumer._deliver(rows, consumer.app.consumer_generation_id)
    return consumer.delivered[before:]


def _offsets(batch: Batch) -> list[int]:
    return [row.offset for row in batch.records]


async def test_only_the_longest_done_prefix_is_committed() -> None:
    consumer = Consumer(P0)
    first, second, third = await _deliver(consumer, records(0, 5), records(5, 9), records(9, 10))
    assert not await consumer.commit()
    second.done = third.done = True
    assert not await consumer.commit()
    assert consumer.commits == []
    first.done = True
    assert await consumer.commit()
    assert consumer.commits == [{P0: 10}]
    assert not await consumer.commit()


async def test_what_is_done_is_committed_while_later_batches_run() -> None:
    consumer = Consumer(P0)
    first, second = await _deliver(consumer, records(0, 5), records(5, 9))
    first.done, second.running = True, True
    assert await consumer.commit()
    assert consumer.commits == [{P0: 5}]
    second.done = True
    await consumer.commit()
    assert consumer.commits == [{P0: 5}, {P0: 9}]


async def test_one_commit_covers_all_partitions_of_a_batch() -> None:
    consumer = Consumer(P0, P1)
    (batch,) = await _deliver(consumer, [*records(3, 6, 1), *records(0, 2, 0)])
    assert batch.next_offsets == {P1: 6, P0: 2}
    batch.done = True
    await consumer.commit()
    assert consumer.commits == [{P1: 6, P0: 2}]


async def test_a_commit_reaches_past_offsets_that_no_reader_sees() -> None:
    consumer = Consumer(P0)
    (batch,) = await _deliver(consumer, [record(4), record(9), record(20)])
    batch.done = True
    await consumer.commit()
    assert consumer.commits == [{P0: 21}]


async def test_offsets_of_a_failed_commit_are_kept_for_the_next() -> None:
    consumer = Consumer(P0, P1)
    consumer.commit_answers = [False]
    first, second = await _deliver(consumer, records(0, 5), records(0, 3, 1))
    first.done = True
    assert not await consumer.commit()
    second.done = True
    assert await consumer.commit()
    assert consumer.commits == [{P0: 5}, {P0: 5, P1: 3}]


async def test_offsets_of_a_commit_that_hangs_are_kept_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery, "COMMIT_TIMEOUT_SECONDS", 0.01)
    consumer = Consumer(P0)
    consumer.commit_gate = asyncio.Event()
    (batch,) = await _deliver(consumer, records(0, 5))
    batch.done = True
    assert not await consumer.commit()
    assert consumer.commits == []
    consumer.commit_gate.set()
    assert await consumer.commit()
    assert consumer.commits == [{P0: 5}]


async def test_what_becomes_done_during_a_commit_is_committed_by_the_next() -> None:
    consumer = Consumer(P0)
    consumer.commit_gate = asyncio.Event()
    first, second = await _deliver(consumer, records(0, 5), records(5, 9))
    first.done = True
    committing = asyncio.create_task(consumer.commit())
    await asyncio.sleep(0)
    second.done = True
    consumer._collect_done()
    consumer.commit_gate.set()
    assert await committing
    assert await consumer.commit()
    assert consumer.commits == [{P0: 5}, {P0: 9}]


async def test_partitions_that_went_away_are_not_committed() -> None:
    consumer = Consumer(P0, P1)
    (batch,) = await _deliver(consumer, [*records(0, 2, 0), *records(0, 4, 1)])
    batch.done = True
    consumer.assigned = {P1}
    await consumer.commit()
    assert consumer.commits == [{P1: 4}]


async def test_revoked_partitions_leave_nothing_behind() -> None:
    consumer = Consumer(P0)
    first, second = await _deliver(consumer, records(0, 5), records(5, 9))
    first.done = True
    await consumer.on_partitions_revoked({P0})
    assert consumer.commits == [{P0: 5}]
    assert second.abandoned
    assert consumer.calls == ["revoked"]
    assert not consumer.flow_active
    assert not consumer.app.flow_control.active.is_set()
    consumer.assigned = {P0}
    second.done = True
    assert not await consumer.commit()


async def test_a_rebalance_waits_for_what_was_begun_and_commits_it() -> None:
    consumer = Consumer(P0)
    begun, waiting = await _deliver(consumer, records(0, 5), records(5, 9))
    begun.running = True
    revoking = asyncio.create_task(consumer.on_partitions_revoked({P0}))
    while not begun.abandoned:
        await asyncio.sleep(0)
    assert not revoking.done()
    begun.done, begun.running = True, False
    await asyncio.wait_for(revoking, 5)
    assert consumer.commits == [{P0: 5}]
    assert waiting.abandoned


async def test_a_rebalance_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "REVOKE_GRACE_SECONDS", 0.02)
    consumer = Consumer(P0)
    (stuck,) = await _deliver(consumer, records(0, 5))
    stuck.running = True
    await asyncio.wait_for(consumer.on_partitions_revoked({P0}), 5)
    assert stuck.abandoned
    assert consumer.commits == []


async def test_an_assignment_forgets_all_of_the_one_before() -> None:
    consumer = Consumer(P0)
    consumer.commit_answers = [False]
    old, older_done = await _deliver(consumer, records(0, 5), records(5, 9))
    old.done = True
    await consumer.commit()
    await consumer.on_partitions_assigned({P0}, 2)
    assert older_done.abandoned
    assert consumer.done_offsets == {}
    assert consumer._committed_offset == {}
    assert not await consumer.commit()


async def test_the_first_batch_of_an_assignment_announces_where_reading_started() -> None:
    consumer = Consumer(P0, P1)
    consumer._committed_offset = {P0: 7, P1: None}
    first, second = await _deliver(consumer, records(7, 9), records(9, 10))
    assert first.assigned == {P0: 7, P1: 0}
    assert second.assigned is None
    await consumer.on_partitions_assigned({P0}, 2)
    consumer._committed_offset = {P0: 10, P1: 0}
    third, fourth = await _deliver(consumer, records(10, 11), records(11, 12))
    assert third.assigned == {P0: 10, P1: 0}
    assert fourth.assigned is None
    assert consumer.generations == [1, 1, 2, 2]


async def test_an_assignment_is_announced_again_after_every_generation() -> None:
    consumer = Consumer(P0)
    (first,) = await _deliver(consumer, records(0, 1))
    await consumer.on_partitions_assigned({P0}, 1)  # the same number after a new join
    consumer._committed_offset = {P0: 1}
    (second,) = await _deliver(consumer, records(1, 2))
    assert (first.assigned, second.assigned) == ({P0: 0}, {P0: 1})


async def test_records_repeated_within_a_delivery_count_once() -> None:
    consumer = Consumer(P0)
    (batch,) = await _deliver(consumer, [*records(0, 3), *records(1, 4)])
    assert _offsets(batch) == [0, 1, 2, 3]


async def test_records_fetched_before_a_rebalance_are_dropped() -> None:
    consumer = Consumer(P0)
    consumer.app.flow_control.suspend()
    delivering = asyncio.create_task(consumer._deliver(records(0, 5), 1))
    await asyncio.sleep(0)
    assert not delivering.done()
    consumer.app.consumer_generation_id = 2
    consumer.app.flow_control.active.set()
    await delivering
    assert consumer.delivered == []
    assert consumer._read_offset == {P0: None}


async def test_a_fetch_becomes_batches_of_bounded_size_over_partitions() -> None:
    consumer = Consumer(P0, P1)
    consumer.runner_is_quick = True
    consumer.fetches = [({P0: records(0, 4), P1: records(0, 3, 1)}, {P0, P1})]
    await consumer._drain_messages(consumer)
    found = [[(row.partition, row.offset) for row in batch.records] for batch in consumer.delivered]
    assert found == [[(0, 0), (0, 1), (0, 2)], [(0, 3), (1, 0), (1, 1)], [(1, 2)]]
    assert consumer.fetched == 7


async def test_partitions_that_are_not_active_are_left_out_of_a_fetch() -> None:
    consumer = Consumer(P0, P1)
    consumer.runner_is_quick = True
    consumer.fetches = [({P0: records(0, 2), P1: records(0, 2, 1)}, {P1})]
    await consumer._drain_messages(consumer)
    assert [row.partition for batch in consumer.delivered for row in batch.records] == [1, 1]


async def test_nothing_is_fetched_before_the_runner_is_through() -> None:
    consumer = Consumer(P0)
    consumer.fetches = [({P0: records(0, 2)}, None), ({P0: records(2, 4)}, None)]
    draining = asyncio.create_task(consumer._drain_messages(consumer))
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(consumer.delivered) == 1
    consumer.runner_is_quick = consumer.delivered[0].done = True
    consumer.demand.set()
    await draining
    assert [row.offset for batch in consumer.delivered for row in batch.records] == [0, 1, 2, 3]


async def test_records_below_the_position_make_it_look_where_the_log_stands() -> None:
    consumer = Consumer(P0)
    await _deliver(consumer, records(0, 5))
    await consumer._deliver(records(0, 3), 1)
    assert consumer.seeks == 1


async def test_what_was_fetched_above_them_is_not_delivered_before_they_come_again() -> None:
    consumer = Consumer(P0)
    consumer.runner_is_quick = True
    await _deliver(consumer, records(0, 5))
    consumer.delivered.clear()
    consumer.fetches = [({P0: records(2, 8)}, None)]
    await consumer._drain_messages(consumer)
    assert consumer.seeks == 1
    assert consumer.delivered == []
    await consumer.commit()
    assert consumer.commits == [{P0: 5}]


async def test_the_rest_of_a_fetch_goes_with_what_a_rebalance_dropped() -> None:
    consumer = Consumer(P0)
    consumer.runner_is_quick = True
    consumer.fetches = [({P0: records(0, 6)}, None)]
    waits: list[None] = []

    async def acquire() -> None:
        """The flow stands still for the first of them alone."""
        waits.append(None)
        consumer.flow_active = len(waits) > 1

    consumer.app.flow_control.acquire = acquire
    await consumer._drain_messages(consumer)
    assert consumer.delivered == []
    assert consumer._read_offset == {P0: None}


async def test_what_was_fetched_while_the_flow_was_stopped_is_fetched_again() -> None:
    consumer = Consumer(P0)
    consumer.stop_flow()
    consumer.fetches = [({P0: records(0, 2)}, None)]
    await consumer._drain_messages(consumer)
    assert (consumer.seeks, consumer.delivered) == (1, [])


async def test_a_stopped_consumer_ends_the_reading_in_a_stopping_app_alone() -> None:
    class Stopped(Consumer):
        async def _wait_next_records(self, timeout: float) -> None:
            raise ConsumerStopped

    consumer = Stopped(P0)
    with pytest.raises(ConsumerStopped):
        await consumer._drain_messages(consumer)
    consumer.app.should_stop = True
    await consumer._drain_messages(consumer)


async def test_a_batch_is_in_progress_while_the_runner_has_it_in_hand() -> None:
    consumer = Consumer(P0)
    (batch,) = await _deliver(consumer, records(0, 5))
    assert not consumer.in_progress()
    batch.running = True
    assert consumer.in_progress()
    batch.running = False
    assert not consumer.in_progress()


async def test_reading_is_told_from_the_flow() -> None:
    consumer = Consumer(P0)
    assert not consumer.reading.is_set()
    consumer.resume_flow()
    assert consumer.reading.is_set()
    consumer.stop_flow()
    assert not consumer.reading.is_set()


async def test_a_message_stands_for_its_last_record() -> None:
    consumer = Consumer(P0)
    seen = []

    async def callback(message: object) -> None:
        seen.append(message)

    consumer.callback = callback
    await consumer._deliver([record(4, timestamp=5_000), record(6, timestamp=7_000)], 1)
    (message,) = seen
    found = (message.tp, message.offset, message.timestamp)  # type: ignore[attr-defined]
    assert found == (TP(TOPIC, 0), 6, 7.0)


async def test_what_is_done_is_let_go_of_before_it_is_committed() -> None:
    consumer = Consumer(P0)
    first, second = await _deliver(consumer, records(0, 5), records(5, 9))
    first.done = second.done = True
    (third,) = await _deliver(consumer, records(9, 12))
    assert list(consumer._batches) == [third]
    await consumer.commit()
    assert consumer.commits == [{P0: 9}]
    assert consumer.done_offset(P0) == 9


async def test_lost_records_count_once_however_often_they_are_met() -> None:
    consumer = Consumer(P0, P1)
    for position, start in [(10, 15), (10, 15), (12, 15), (15, 15), (10, 20), (25, 20)]:
        consumer.read_past(P0, position, start)
    consumer.read_past(P1, 0, 3)
    assert consumer.lost_records == 10 + 3
