"""What only a log with consumer groups and transactions can do to a transport."""

import asyncio
import sys
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer

from edgeferry.core.record import Record
from edgeferry.streams import kafka_transport
from tests.integration.streams.beds import Bed, kafka_bed
from tests.integration.streams.harness import KEYS, LAST, Forward, numbered

pytestmark = pytest.mark.asyncio

SHORTEST_SESSION_SECONDS = 6.0
"""A broker's ``group.min.session.timeout.ms``."""


async def test_a_second_worker_joins_while_batches_are_in_flight(on_kafka: Bed) -> None:
    async def slow(records: Sequence[Record]) -> None:
        await asyncio.sleep(0.05)

    await on_kafka.load(0, 20_000)
    first = on_kafka.runner(Forward(on_kafka.site, before=slow))
    second = on_kafka.runner(Forward(on_kafka.site, before=slow))
    await first.start()
    await first.ready()
    await second.start()
    await second.ready()
    await on_kafka.drained()
    await first.stop()
    await second.stop()
    found = await on_kafka.arrived(20_000)
    assert (found.missing, found.out_of_order) == (0, 0)


async def test_records_fetched_while_the_flow_is_paused_are_not_lost(on_kafka: Bed) -> None:
    """Members come and go, so that fetches keep arriving around assignments."""
    loading = asyncio.create_task(on_kafka.load(0, 40_000, chunk=200))
    steady = on_kafka.runner(Forward(on_kafka.site))
    await steady.start()
    for _ in range(5):
        passing = on_kafka.runner(Forward(on_kafka.site))
        await passing.start()
        await passing.ready()
        await passing.stop()
    await loading
    await on_kafka.drained()
    await steady.stop()
    found = await on_kafka.arrived(40_000)
    assert (found.missing, found.out_of_order) == (0, 0)


async def test_gaps_in_the_offsets_do_not_stop_the_commit(kafka: str, on_kafka: Bed) -> None:
    """Transaction markers and aborted records leave offsets that no reader ever sees."""
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "transactional.id": on_kafka.site,
            "partitioner": "murmur2_random",
        }
    )
    await asyncio.to_thread(producer.init_transactions, 30)
    for start in range(0, 1_000, 100):
        producer.begin_transaction()
        for record in numbered(on_kafka.site, start, start + 100):
            producer.produce(record.topic, record.value, record.key)
        await asyncio.to_thread(producer.commit_transaction, 30)
    running = on_kafka.runner(Forward(on_kafka.site))
    await running.start()
    await on_kafka.all_arrived(1_000)
    # The markers at the very ends are read past with the next records, so add some.
    await on_kafka.load(1_000, 1_000 + KEYS)
    await on_kafka.drained()
    await running.stop()
    found = await on_kafka.arrived(1_000 + KEYS)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)


async def test_partitions_of_a_worker_that_stays_dead_move_to_the_other(
    kafka: str, on_kafka: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_transport, "SESSION_SECONDS", SHORTEST_SESSION_SECONDS)
    site = on_kafka.site
    dying = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.streams.kafka_worker",
        kafka, site, "dying", str(SHORTEST_SESSION_SECONDS),
    )  # fmt: skip
    await on_kafka.load(0, 1_000)
    await on_kafka.drained()
    other = kafka_bed(kafka, site, slot="other")
    await other.start()
    running = other.runner(Forward(site))
    await running.start()
    await running.ready()
    dying.kill()
    await dying.wait()
    await on_kafka.load(1_000, 2_000)
    assert await on_kafka.count(LAST) < 2_000, "the dead one's partitions moved at once"
    await on_kafka.drained(seconds=30)
    await running.stop()
    await other.stop()
    found = await on_kafka.arrived(2_000)
    assert (found.missing, found.out_of_order) == (0, 0)
