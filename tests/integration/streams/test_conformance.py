"""What a transport must do on every log.

Whatever happens to workers or records: nothing is skipped, the order per key is kept, and
nothing is committed before what came of it is durable.
"""

import asyncio
from collections.abc import Sequence

import pytest

from edgeferry.core.errors import StoreUnavailable
from edgeferry.core.record import Record
from edgeferry.log.codec import decode_dead_letter
from edgeferry.streams.delivery import BatchDelivery
from edgeferry.streams.runner import Runner
from tests.integration.streams.beds import Bed, refusal
from tests.integration.streams.harness import (
    FIRST,
    KEYS,
    LAST,
    CountingMetrics,
    Forward,
    consumer_of,
    numbered,
    positions,
    resident_bytes,
    until,
)

pytestmark = pytest.mark.asyncio

DEAD = "dead-letters"


async def test_everything_arrives_once_and_in_order(bed: Bed) -> None:
    await bed.load(0, 5_000)
    running = bed.runner(Forward(bed.site))
    await running.start()
    await bed.load(5_000, 10_000)
    await bed.drained()
    await running.stop()
    found = await bed.arrived(10_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_a_stopped_runner_goes_on_where_it_was(bed: Bed) -> None:
    for start in range(0, 3_000, 1_000):
        running = bed.runner(Forward(bed.site))
        await running.start()
        await bed.load(start, start + 1_000, chunk=50)
        await running.stop()
    running = bed.runner(Forward(bed.site))
    await running.start()
    await bed.drained()
    await running.stop()
    found = await bed.arrived(3_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_a_processor_is_told_where_reading_starts(bed: Bed) -> None:
    await bed.load(0, 1_000)
    starts = []
    for count in (1_000, 1_500):
        await bed.load(1_000, count)
        processor = Forward(bed.site)
        running = bed.runner(processor)
        await running.start()
        await bed.drained()
        await running.stop()
        starts.append([sum(offsets.values()) for offsets in processor.assignments])
    assert starts == [[0], [1_000]]


async def test_nothing_is_committed_before_the_outputs_are_durable(bed: Bed) -> None:
    await bed.load(0, 100)
    gate, metrics = bed.gate(), CountingMetrics()
    running = bed.runner(Forward(bed.site), gate=gate, metrics=metrics)
    await running.start()
    await asyncio.wait_for(gate.waiting.wait(), 30)
    assert metrics.batches == 0
    assert await bed.committed() == 0
    gate.opened.set()
    await bed.drained()
    assert await bed.committed() == 100
    await running.stop()


async def test_a_log_that_refuses_is_retried_and_nothing_moves_meanwhile(bed: Bed) -> None:
    await bed.load(0, 1_000)
    gate, metrics = bed.gate(), CountingMetrics()
    gate.opened.set()
    gate.failures = [refusal(), refusal(), refusal()]
    running = bed.runner(Forward(bed.site), gate=gate, metrics=metrics)
    await running.start()
    await bed.drained()
    await running.stop()
    assert metrics.retries == 3
    found = await bed.arrived(1_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_a_store_that_is_away_holds_the_offset_and_then_everything_passes(bed: Bed) -> None:
    failures = iter(range(3))

    async def away(records: Sequence[Record]) -> None:
        if next(failures, None) is not None:
            raise StoreUnavailable("told to fail")

    await bed.load(0, 1_000)
    metrics = CountingMetrics()
    running = bed.runner(Forward(bed.site, before=away), metrics=metrics)
    await running.start()
    await bed.drained()
    await running.stop()
    assert metrics.retries == 3
    assert metrics.dead_letters == 0
    found = await bed.arrived(1_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_records_that_leave_nothing_behind_are_committed(bed: Bed) -> None:
    class Swallow(Forward):
        async def process(self, records: Sequence[Record], outputs: object) -> None:
            """Nothing comes of them."""

    await bed.load(0, 1_000)
    running = bed.runner(Swallow(bed.site))
    await running.start()
    await bed.drained()
    await running.stop()
    assert await bed.committed() == 1_000
    assert await bed.read_all(LAST) == []


async def test_a_raising_processor_costs_that_record_alone(bed: Bed) -> None:
    async def raising(records: Sequence[Record]) -> None:
        for record in records:
            if record.value in (b"17", b"500", b"501"):
                raise ZeroDivisionError(f"record {record.value!r}")

    await bed.load(0, 1_000)
    running = bed.runner(Forward(bed.site, before=raising))
    await running.start()
    await bed.drained()
    await running.stop()
    found = await bed.arrived(1_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (3, 0, 0)
    letters = [decode_dead_letter(record.value) for record in await bed.read_all(DEAD)]
    assert sorted(letter.value or b"" for letter in letters) == [b"17", b"500", b"501"]
    for letter in letters:
        assert letter.topic == f"{bed.site}.{FIRST}"
        assert letter.error_class == "ZeroDivisionError"
        assert letter.key == f"k{int(letter.value or b'') % KEYS}".encode()
        assert (letter.site, letter.chain, letter.node) == (bed.site, "conformance", "forward")


async def test_the_brake_stops_a_processor_that_fails_everything(bed: Bed) -> None:
    async def raising(records: Sequence[Record]) -> None:
        raise ZeroDivisionError("a bad deployment")

    await bed.load(0, 20_000)
    running = bed.runner(Forward(bed.site, before=raising))
    await running.start()
    await until(lambda: reports(running, "most of the records"), 60, "the brake is not pulled")
    assert not running.health().ready
    assert "replay" in running.health().detail
    await running.stop()
    dead = len(await bed.read_all(DEAD))
    assert 200 <= dead <= 2_000
    assert await bed.committed() == dead


async def test_a_slow_processor_pauses_fetching_and_keeps_memory_bounded(bed: Bed) -> None:
    """A backlog of 100 MB stands behind a processor that does not move."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def stuck(records: Sequence[Record]) -> None:
        entered.set()
        await release.wait()

    padding = b" " * 2_000
    for start in range(0, 50_000, 1_000):
        await bed.writer.append(
            [
                row._replace(value=row.value + padding)
                for row in numbered(bed.site, start, start + 1_000)
            ]
        )
    before = resident_bytes()
    running = bed.runner(Forward(bed.site, before=stuck))
    await running.start()
    await asyncio.wait_for(entered.wait(), 30)
    taken, most = positions(running), 0
    watched_until = asyncio.get_running_loop().time() + 2

    async def watched_long_enough() -> bool:
        nonlocal most
        most = max(most, resident_bytes() - before)
        return asyncio.get_running_loop().time() > watched_until

    await until(watched_long_enough, 10, "time stands still")
    assert positions(running) == taken <= 2_500
    assert most < 40_000_000
    release.set()
    await asyncio.wait_for(running.stop(), 30)


async def test_a_batch_that_never_comes_back_is_no_sign_of_life(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeferry.streams.runner.HUNG_SECONDS", 0.2)
    release = asyncio.Event()

    async def hung(records: Sequence[Record]) -> None:
        await release.wait()

    await bed.load(0, 10)
    running = bed.runner(Forward(bed.site, before=hung))
    await running.start()
    await until(lambda: reports(running, "stalled"), 60, "the node is taken for healthy")
    assert not running.health().alive
    release.set()
    await bed.drained()
    assert running.health().alive
    await running.stop()


async def test_an_app_of_which_a_part_died_is_started_again(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeferry.streams.runner.RESTART_PAUSE_SECONDS", 0.01)
    failures = [ZeroDivisionError("told to fail")]
    wait_for_demand = BatchDelivery._wait_for_demand

    async def failing(delivery: BatchDelivery) -> None:
        await wait_for_demand(delivery)
        if delivery.deliveries and failures:
            raise failures.pop()

    async def has_failed() -> bool:
        return not failures

    monkeypatch.setattr(BatchDelivery, "_wait_for_demand", failing)
    running = bed.runner(Forward(bed.site))
    await running.start()
    await bed.load(0, 1_000, chunk=100)
    await until(has_failed, 30, "nothing failed")
    await bed.load(1_000, 2_000, chunk=100)
    await bed.drained()
    assert running.health().ready
    await running.stop()
    found = await bed.arrived(2_000)
    assert (found.missing, found.out_of_order) == (0, 0)


async def test_faust_keeps_no_account_of_what_was_acknowledged(bed: Bed) -> None:
    """Its own lists are never cleared, as nothing is committed of them."""
    running = bed.runner(Forward(bed.site))
    await running.start()
    await bed.load(0, 5_000, chunk=100)
    await bed.drained()
    consumer = consumer_of(running)
    assert not any(consumer._acked.values())
    assert not any(consumer._acked_index.values())
    assert not consumer.unacked
    assert len(consumer._batches) <= 1
    await running.stop()


async def reports(running: Runner, text: str) -> bool:
    return text in running.health().detail
