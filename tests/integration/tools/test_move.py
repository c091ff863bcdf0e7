"""A site that outgrows one machine: from SQLite to a real Kafka and Cassandra."""

import asyncio
import json
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.store import Store
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.runtime.settings import load_settings
from edgeferry.store.open import open_store
from edgeferry.tools.records import stored_records
from tests.integration.tools.sites import BASE_TS, Sites, edgeferry, run, until

FIRST = range(2_000)
LATER = range(2_000, 2_300)


@pytest.fixture
def sites(tmp_path: Path, topic_prefix: str) -> Sites:
    return Sites(tmp_path, topic_prefix, f"{topic_prefix}.c")


@pytest.fixture
def target(kafka: str, cassandra: str, keyspace: str) -> list[str]:
    return [
        *("--to-log", "kafka", "--kafka", kafka),
        *("--to-store", "cassandra", "--cassandra", cassandra, "--keyspace", keyspace),
    ]


@asynccontextmanager
async def store_of(settings_file: Path) -> AsyncIterator[Store]:
    settings = load_settings(settings_file)
    store = open_store(
        settings=settings.store, data=settings.data, clock=SystemClock(), read_only=True
    )
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def numbers_in(store: Store, device_id: str) -> list[int]:
    found = await store.timeseries.history("DEVICE", device_id, "n", 0, 2 * BASE_TS, 100_000, "ASC")
    assert all(entry.ts == BASE_TS + int(str(entry.value)) for entry in found)
    return [int(str(entry.value)) for entry in found]


async def until_stored(sites: Sites, settings: Path, numbers: range) -> None:
    async with store_of(settings) as store:

        async def all_there() -> bool:
            found = [await numbers_in(store, device.id) for device in sites.devices]
            return found == [list(numbers)] * len(sites.devices)

        await until(all_there)


async def move(settings: Path, target: list[str], *more: str) -> dict[str, Any]:
    ended = await run("move", "--settings", str(settings), *target, *more, "--json")
    assert ended.returncode == 0, ended.stderr
    moved: dict[str, Any] = json.loads(ended.stdout)
    return moved


async def kill_while_copying(settings: Path, target: list[str], kafka: str, topic: str) -> None:
    """SIGKILL as soon as records of ``topic`` stand in the target."""
    told = settings.with_suffix(".move.log")
    with told.open("wb") as output:
        process = subprocess.Popen(
            edgeferry("move", "--settings", str(settings), *target), stdout=output, stderr=output
        )
    topics, reader = KafkaTopics(kafka), KafkaReader(kafka)

    async def begun() -> bool:
        assert process.poll() is None, told.read_text()
        if topic not in await topics.partitions():
            return False
        return any(ends.end for ends in (await reader.ends(topic)).values())

    try:
        await until(begun)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
        await reader.stop()


@pytest.mark.asyncio
async def test_an_edge_with_a_backlog_is_moved_and_all_arrives_in_the_cloud(
    sites: Sites, target: list[str], kafka: str, topic_prefix: str
) -> None:
    async with sites.running(sites.edge) as http:  # the Cloud is away
        await sites.publish(http, FIRST)
        running = await run("move", "--settings", str(sites.edge), *target)
        assert running.returncode == 1
        assert "in use by process" in running.stderr

        async def worked_off() -> bool:
            return not any((await sites.lag(sites.edge)).values())

        await until(worked_off)
        await sites.publish(http, LATER)  # of these some will stand before a node
    events = f"{topic_prefix}.cloud-events-ts"

    looked = await move(sites.edge, target, "--dry-run")
    assert looked["settings"] is None
    assert looked["topics"][events]["records"] >= len(FIRST) * 3
    assert events not in await KafkaTopics(kafka).partitions()

    await kill_while_copying(sites.edge, target, kafka, events)
    moved = await move(sites.edge, target)
    assert moved["topics"] == looked["topics"]
    assert moved["rows"] == looked["rows"]
    again = await move(sites.edge, target)
    assert again["text"].startswith("moved already")

    settings = Path(moved["settings"])
    async with sites.running(sites.cloud), sites.running(settings):
        everything = range(LATER.stop)
        await until_stored(sites, settings, everything)
        await until_stored(sites, sites.cloud, everything)

        async def all_committed() -> bool:  # a second or so after it is stored
            return not any((await sites.lag(settings)).values())

        await until(all_committed)


@pytest.mark.asyncio
@pytest.mark.parametrize("options", [4, None], ids=["log", "log-and-store"])
async def test_a_cloud_is_moved_and_takes_every_event_once(
    sites: Sites, target: list[str], kafka: str, topic_prefix: str, options: int | None
) -> None:
    whole, target = target, target[:options]
    async with sites.running(sites.edge) as http:
        async with sites.running(sites.cloud):
            await sites.publish(http, FIRST)
            await until_stored(sites, sites.cloud, FIRST)
        await sites.publish(http, LATER)
        moved = await move(sites.cloud, target)
        settings = Path(moved["settings"])
        async with sites.running(settings):
            await until_stored(sites, settings, range(LATER.stop))
        if options:  # the store goes later, alone
            after = await move(settings, ["--to-store", "cassandra", *whole[6:]])
            assert (after["topics"], after["rows"]["history"]) == ({}, LATER.stop * 3)
            async with sites.running(Path(after["settings"])):
                await until_stored(sites, Path(after["settings"]), range(LATER.stop))

    assert moved["rows"].get("history") == (None if options else len(FIRST) * 3)
    reader = KafkaReader(kafka)
    try:
        topic = f"{topic_prefix}.c.cloud-events-ts"
        received = [
            record async for record in stored_records(reader, topic, await reader.ends(topic))
        ]
    finally:
        await reader.stop()
    counts = Counter(record.key for record in received)
    assert counts == {device.id.encode(): len(LATER) for device in sites.devices}


@pytest.mark.asyncio
async def test_a_target_with_data_of_others_is_refused(
    sites: Sites, target: list[str], tmp_path: Path, topic_prefix: str
) -> None:
    async with sites.running(sites.edge) as http:
        await sites.publish(http, range(5))
    await move(sites.edge, target)

    (tmp_path / "other").mkdir()
    other = Sites(tmp_path / "other", topic_prefix, f"{topic_prefix}.c")
    async with other.running(other.edge) as http:
        await other.publish(http, range(5))
    refused = await run("move", "--settings", str(other.edge), *target[:4])
    assert refused.returncode == 1
    assert f"has records of a site {topic_prefix} already" in refused.stderr
    refused = await run("move", "--settings", str(other.edge), *target[4:])
    assert refused.returncode == 1
    assert "has rows already" in refused.stderr


@pytest.mark.asyncio
async def test_a_site_that_ran_after_its_move_began_is_refused(
    sites: Sites, target: list[str], kafka: str, topic_prefix: str
) -> None:
    async with sites.running(sites.edge) as http:
        await sites.publish(http, FIRST)
    topic = f"{topic_prefix}.cloud-events-ts"
    await kill_while_copying(sites.edge, target[:4], kafka, topic)
    async with sites.running(sites.edge) as http:
        await sites.publish(http, LATER)
    refused = await run("move", "--settings", str(sites.edge), *target[:4])
    assert refused.returncode == 1
    assert "the site has run since this move was begun" in refused.stderr
