"""The batch transport's conformance suite on real Kafka.

Whatever happens to workers, partitions, brokers or records: nothing is skipped, the order
per key is kept, and nothing is committed before what came of it is durable.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from confluent_kafka import Producer

from edgeferry.core.errors import LogUnavailable, StoreUnavailable
from edgeferry.core.record import Outgoing, Record
from edgeferry.log.codec import decode_dead_letter
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.streams.runner import Runner
from tests.integration.streams.harness import (
    KEYS,
    CountingMetrics,
    Forward,
    arrived,
    drained,
    load,
    make_topics,
    new_writer,
    numbered,
    read_all,
    resident_bytes,
    runner,
    until,
)

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def site(kafka: str, topic_prefix: str) -> str:
    await make_topics(kafka, topic_prefix)
    return topic_prefix


@pytest_asyncio.fixture
async def writer(kafka: str) -> AsyncIterator[KafkaWriter]:
    made = new_writer(kafka)
    yield made
    await made.stop()


class Gate:
    """A log writer whose appends wait until it is opened, or fail while told to."""

    def __init__(self, inner: KafkaWriter) -> None:
        self._inner = inner
        self.opened = asyncio.Event()
        self.waiting = asyncio.Event()
        self.failures = 0

    @property
    def max_record_bytes(self) -> int:
        return self._inner.max_record_bytes

    async def append(self, records: Sequence[Outgoing]) -> None:
        self.waiting.set()
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("told to fail")
        await self.opened.wait()
        await self._inner.append(records)


async def _committed(kafka: str, site: str) -> int:
    rows = await KafkaTopics(kafka).lag(f"{site}.in", [f"{site}.in"])
    return sum(row.committed or 0 for row in rows)


async def test_everything_arrives_once_and_in_order(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    await load(writer, site, 0, 5_000)
    running = runner(kafka, Forward(site), writer=writer)
    await running.start()
    await load(writer, site, 5_000, 10_000)
    await drained(kafka, site)
    await running.stop()
    found = await arrived(kafka, site, 10_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_nothing_is_committed_before_the_outputs_are_durable(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    await load(writer, site, 0, 100)
    gate = Gate(writer)
    metrics = CountingMetrics()
    running = runner(kafka, Forward(site), writer=gate, metrics=metrics)
    await running.start()
    await asyncio.wait_for(gate.waiting.wait(), 30)
    assert metrics.batches == 0
    assert await _committed(kafka, site) == 0
    gate.opened.set()
    await drained(kafka, site)
    assert await _committed(kafka, site) == 100
    await running.stop()


async def test_a_log_that_refuses_is_retried_and_nothing_moves_meanwhile(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    await load(writer, site, 0, 1_000)
    gate = Gate(writer)
    gate.opened.set()
    gate.failures = 3
    metrics = CountingMetrics()
    running = runner(kafka, Forward(site), writer=gate, metrics=metrics)
    await running.start()
    await drained(kafka, site)
    await running.stop()
    assert metrics.retries == 3
    found = await arrived(kafka, site, 1_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_a_store_that_is_away_holds_the_offset_and_then_everything_passes(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    failures = iter(range(3))

    async def away(records: Sequence[Record]) -> None:
        if next(failures, None) is not None:
            raise StoreUnavailable("told to fail")

    await load(writer, site, 0, 1_000)
    metrics = CountingMetrics()
    running = runner(kafka, Forward(site, before=away), writer=writer, metrics=metrics)
    await running.start()
    await drained(kafka, site)
    await running.stop()
    assert metrics.retries == 3
    assert metrics.dead_letters == 0
    found = await arrived(kafka, site, 1_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_a_second_worker_joins_while_batches_are_in_flight(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    async def slow(records: Sequence[Record]) -> None:
        await asyncio.sleep(0.05)

    await load(writer, site, 0, 20_000)
    first = runner(kafka, Forward(site, before=slow), writer=writer)
    second = runner(kafka, Forward(site, before=slow), writer=writer)
    await first.start()
    await first.ready()
    await second.start()
    await second.ready()
    await drained(kafka, site)
    await first.stop()
    await second.stop()
    found = await arrived(kafka, site, 20_000)
    assert (found.missing, found.out_of_order) == (0, 0)


async def test_records_fetched_while_the_flow_is_paused_are_not_lost(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    """Members come and go, so that fetches keep arriving around assignments."""
    loading = asyncio.create_task(load(writer, site, 0, 40_000, chunk=200))
    steady = runner(kafka, Forward(site), writer=writer)
    await steady.start()
    for _ in range(5):
        passing = runner(kafka, Forward(site), writer=writer)
        await passing.start()
        await passing.ready()
        await passing.stop()
    await loading
    await drained(kafka, site)
    await steady.stop()
    found = await arrived(kafka, site, 40_000)
    assert (found.missing, found.out_of_order) == (0, 0)


async def test_gaps_in_the_offsets_do_not_stop_the_commit(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    """Transaction markers and aborted records leave offsets that no reader ever sees."""
    producer = Producer(
        {"bootstrap.servers": kafka, "transactional.id": site, "partitioner": "murmur2_random"}
    )
    await asyncio.to_thread(producer.init_transactions, 30)
    for start in range(0, 1_000, 100):
        producer.begin_transaction()
        for record in numbered(site, start, start + 100):
            producer.produce(record.topic, record.value, record.key)
        await asyncio.to_thread(producer.commit_transaction, 30)
    running = runner(kafka, Forward(site), writer=writer)
    await running.start()
    await until(lambda: _has(kafka, site, 1_000), 60, "not everything has arrived")
    # The markers at the very ends are read past with the next records, so add some.
    await load(writer, site, 1_000, 1_000 + KEYS)
    await drained(kafka, site)
    await running.stop()
    found = await arrived(kafka, site, 1_000 + KEYS)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def _has(kafka: str, site: str, count: int) -> bool:
    return (await arrived(kafka, site, count)).missing == 0


async def test_a_raising_processor_costs_that_record_alone(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    async def raising(records: Sequence[Record]) -> None:
        for record in records:
            if record.value in (b"17", b"500", b"501"):
                raise ZeroDivisionError(f"record {record.value!r}")

    await load(writer, site, 0, 1_000)
    metrics = CountingMetrics()
    running = runner(kafka, Forward(site, before=raising), writer=writer, metrics=metrics)
    await running.start()
    await drained(kafka, site)
    await running.stop()
    found = await arrived(kafka, site, 1_000)
    assert (found.missing, found.duplicates, found.out_of_order) == (3, 0, 0)
    letters = [
        decode_dead_letter(record.value) for record in await read_all(kafka, f"{site}.dead-letters")
    ]
    assert sorted(letter.value or b"" for letter in letters) == [b"17", b"500", b"501"]
    for letter in letters:
        assert letter.topic == f"{site}.in"
        assert letter.error_class == "ZeroDivisionError"
        assert letter.key == f"k{int(letter.value or b'') % KEYS}".encode()
        assert (letter.site, letter.chain, letter.node) == (site, "conformance", "forward")


async def test_the_brake_stops_a_processor_that_fails_everything(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    async def raising(records: Sequence[Record]) -> None:
        raise ZeroDivisionError("a bad deployment")

    await load(writer, site, 0, 20_000)
    running = runner(kafka, Forward(site, before=raising), writer=writer)
    await running.start()
    await until(lambda: _stopped(running.health().detail), 60, "the brake is not pulled")
    assert not running.health().ready
    assert "replay" in running.health().detail
    await running.stop()
    dead = len(await read_all(kafka, f"{site}.dead-letters"))
    assert 200 <= dead <= 2_000
    assert await _committed(kafka, site) == dead


async def _stopped(detail: str) -> bool:
    return "most of the records" in detail


async def test_a_slow_processor_keeps_memory_bounded(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    """A backlog of 100 MB stands behind a processor that does not move."""
    entered = asyncio.Event()

    async def stuck(records: Sequence[Record]) -> None:
        entered.set()
        await asyncio.Event().wait()

    padding = b" " * 2_000
    for start in range(0, 50_000, 1_000):
        await writer.append(
            [
                row._replace(value=row.value + padding)
                for row in numbered(site, start, start + 1_000)
            ]
        )
    running = runner(kafka, Forward(site, before=stuck), writer=writer)
    await running.start()
    await asyncio.wait_for(entered.wait(), 30)
    before = resident_bytes()
    loop = asyncio.get_running_loop()
    until_time = loop.time() + 3

    async def three_seconds_passed() -> bool:
        return loop.time() > until_time

    await until(three_seconds_passed, 10, "time stands still")
    assert resident_bytes() - before < 40_000_000
    stopping = asyncio.create_task(running.stop())
    await asyncio.wait_for(stopping, 30)


async def test_a_topic_made_anew_is_read_from_its_start(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    """The committed offsets are above its end; nothing of it may pass for read already."""
    await load(writer, site, 0, 2_000)
    running = runner(kafka, Forward(site), writer=writer)
    await running.start()
    await drained(kafka, site)
    await running.stop()
    await KafkaTopics(kafka).delete([f"{site}.in"])
    await make_topics(kafka, site)
    anew = new_writer(kafka)
    await load(anew, site, 2_000, 2_500)
    running = runner(kafka, Forward(site), writer=anew)
    await running.start()
    await until(lambda: _has(kafka, site, 2_500), 60, "not everything has arrived")
    await running.stop()
    await anew.stop()


async def test_records_deleted_before_they_were_read_are_reported_as_lost(
    kafka: str, site: str, writer: KafkaWriter
) -> None:
    await load(writer, site, 0, 1_000)
    running = runner(kafka, Forward(site), writer=writer)
    await running.start()
    await drained(kafka, site)
    await running.stop()
    await load(writer, site, 1_000, 2_000)
    admin = KafkaTopics(kafka)
    reader = KafkaReader(kafka)
    ends = {p: ends.end for p, ends in (await reader.ends(f"{site}.in")).items()}
    await reader.commit(f"{site}.other", f"{site}.in", ends)
    lost = await admin.trim({f"{site}.other": [f"{site}.in"]}, 2**42)
    await reader.stop()
    assert lost == 2_000
    await load(writer, site, 2_000, 2_100)
    running = runner(kafka, Forward(site), writer=writer)
    await running.start()
    await until(lambda: _reports(running, "1000 records were deleted"), 60, "no report")
    assert not running.health().ready
    await running.stop()


async def _reports(running: Runner, text: str) -> bool:
    return text in running.health().detail


async def test_a_batch_that_never_comes_back_is_no_sign_of_life(
    kafka: str, site: str, writer: KafkaWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeferry.streams.runner.HUNG_SECONDS", 0.2)
    release = asyncio.Event()

    async def hung(records: Sequence[Record]) -> None:
        await release.wait()

    await load(writer, site, 0, 10)
    running = runner(kafka, Forward(site, before=hung), writer=writer)
    await running.start()
    await until(lambda: _reports(running, "stalled"), 60, "the node is taken for healthy")
    assert not running.health().alive
    release.set()
    await drained(kafka, site)
    assert running.health().alive
    await running.stop()
