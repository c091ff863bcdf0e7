"""A move to a real Kafka and Cassandra that is killed again and again."""

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from edgeferry.core.changes import RpcStatus
from edgeferry.core.clock import SystemClock
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope
from edgeferry.core.node import AttributesWrite, TimeseriesWrite
from edgeferry.core.record import Outgoing
from edgeferry.core.store import Credentials, EdgeEventRow, Entity, Rpc
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import chain_topics, root_topic
from edgeferry.runtime.settings import load_settings
from edgeferry.store import open_store
from tests.integration.tools.sites import BASE_TS, Sites, edgeferry
from tests.integration.tools.test_move import move

EDGE, TENANT = new_entity_id(), new_entity_id()
DEVICES = [new_entity_id() for _ in range(150)]
_POLL_SECONDS = 0.01
_DEADLINE = 60.0

Reached = Callable[[], Awaitable[bool]]


async def fill(settings_file: Path) -> None:
    settings, clock = load_settings(settings_file), SystemClock()
    store = open_store(settings=settings.store, data=settings.data, clock=clock)
    await store.start()
    try:
        await store.timeseries.save(
            [
                TimeseriesWrite("DEVICE", DEVICES[n % 10], BASE_TS + n, n + 1, {"n": n})
                for n in range(6_000)
            ]
        )
        await store.attributes.save(
            [
                AttributesWrite("DEVICE", id_, scope, {"a": id_, "b": 1}, 7, 8, "edge")
                for id_ in DEVICES
                for scope in Scope
            ]
        )
        await store.entities.save_entities(
            [
                Entity("DEVICE", id_, TENANT, id_, "default", 5, 3, "cloud", "", "{}", id_)
                for id_ in DEVICES
            ]
        )
        for id_ in DEVICES:
            token = json.dumps({"credentialsType": "ACCESS_TOKEN", "credentialsId": id_})
            await store.entities.save_credentials(Credentials("DEVICE", id_, token, 4, "edge", id_))
            await store.entities.assign(("DEVICE", id_), EDGE)
            rpc_id = new_entity_id()
            await store.rpcs.create(
                Rpc(rpc_id, TENANT, id_, RpcStatus.SENT, "{}", "", BASE_TS, BASE_TS, rpc_id)
            )
        await store.edge_events.append(
            [
                EdgeEventRow(
                    EDGE, "edge-events", "topic/0", n, 5, "ADDED", "DEVICE", "DEVICE",
                    DEVICES[n % 150], f"u{n}", "", "cloud", b"\0" * 500,
                )
                for n in range(6_000)
            ]
        )  # fmt: skip
    finally:
        await store.stop()
    log = SqliteLog(folder=settings.data, clock=clock)
    await log.start()
    try:
        topic = root_topic(settings.site)
        await log.ensure(chain_topics([topic], 1))
        for part in range(12):
            await log.append(
                [
                    Outgoing(topic, DEVICES[n % 150].encode(), b"%d.%d" % (part, n), ())
                    for n in range(5_000)
                ]
            )
    finally:
        await log.stop()


async def kill_when(settings_file: Path, target: list[str], reached: Reached, name: str) -> None:
    told = settings_file.with_suffix(f".{name}.log")
    with told.open("wb") as output:
        process = subprocess.Popen(
            edgeferry("move", "--settings", str(settings_file), *target),
            stdout=output,
            stderr=output,
        )
    try:
        async with asyncio.timeout(_DEADLINE):
            while not await reached():
                assert process.poll() is None, f"{name}: {told.read_text()}"
                await asyncio.sleep(_POLL_SECONDS)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


@pytest.mark.asyncio
async def test_a_cloud_whose_move_is_killed_at_every_stage_is_moved_whole(
    tmp_path: Path, topic_prefix: str, kafka: str, cassandra: str, keyspace: str
) -> None:
    sites = Sites(tmp_path, topic_prefix, f"{topic_prefix}.c")
    await fill(sites.cloud)
    target = [
        *("--to-log", "kafka", "--kafka", kafka),
        *("--to-store", "cassandra", "--cassandra", cassandra, "--keyspace", keyspace),
    ]
    looked = await move(sites.cloud, target, "--dry-run")
    data = load_settings(sites.cloud).data
    topics, reader = KafkaTopics(kafka), KafkaReader(kafka)
    topic = f"{topic_prefix}.c.root"

    async def planned() -> bool:
        return (data / "move.json").exists()

    def copied(table: str) -> Reached:
        async def reached() -> bool:
            with suppress(FileNotFoundError):
                return table in json.loads((data / "move-store.json").read_bytes())
            return False

        return reached

    async def some_records() -> bool:
        if topic not in await topics.partitions():
            return False
        return any(one.end for one in (await reader.ends(topic)).values())

    stages: list[tuple[str, Reached]] = [("planned", planned)]
    stages += [(name, copied(name)) for name in ("history", "attributes", "commands")]
    stages += [("edge events", copied("edge events")), ("records", some_records)]
    try:
        for name, reached in stages:
            await kill_when(sites.cloud, target, reached, name)
    finally:
        await reader.stop()
    moved = await move(sites.cloud, target)
    assert moved["rows"] == looked["rows"]
    assert moved["topics"] == looked["topics"]
    assert moved["rows"]["edge events"] == 6_000
    assert moved["topics"][topic]["records"] == 60_000
    assert (await move(sites.cloud, target))["text"].startswith("moved already")
