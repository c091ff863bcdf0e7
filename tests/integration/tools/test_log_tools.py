"""topics, tail, lag and dead-letters on a real Kafka."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.record import Outgoing
from edgeferry.log.codec import encode_dead_letter
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader


@pytest.fixture
def settings(tmp_path: Path, kafka: str, topic_prefix: str) -> str:
    file = tmp_path / "settings.yaml"
    file.write_text(
        f"role: edge\nsite: {topic_prefix}\ndata: {tmp_path}\n"
        f"log: {{kind: kafka, kafka: {{bootstrap: '{kafka}', partitions: 2}}}}\n"
    )
    return str(file)


async def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return await say(*arguments, "--json")


async def say(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "edgeferry", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


async def edgeferry(*arguments: str) -> Any:
    ended = await run(*arguments)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


async def append(kafka: str, *records: Outgoing) -> None:
    writer = KafkaWriter(kafka, SystemClock())
    try:
        await writer.append(records)
    finally:
        await writer.stop()


@pytest.mark.asyncio
async def test_topics_are_made_once_and_listed(settings: str, topic_prefix: str) -> None:
    made = (await edgeferry("topics", "apply", "--settings", settings))["made"]
    assert f"{topic_prefix}.root" in made
    assert f"{topic_prefix}.edge_root.save" in made
    assert (await edgeferry("topics", "apply", "--settings", settings)) == {"made": []}
    listed = await edgeferry("topics", "list", "--settings", settings)
    assert {row["topic"] for row in listed} == set(made)
    assert all(row["exists"] for row in listed)


@pytest.mark.asyncio
async def test_lag_counts_what_a_node_has_not_read(
    settings: str, kafka: str, topic_prefix: str
) -> None:
    await edgeferry("topics", "apply", "--settings", settings)
    await append(kafka, *[Outgoing(f"{topic_prefix}.root", b"key", b"value")] * 3)
    shown = await edgeferry("lag", "--settings", settings)
    assert {row["node"]: row["lag"] for row in shown["nodes"] if row["lag"]} == {"switch": 3}


@pytest.mark.asyncio
async def test_tail_shows_what_it_cannot_decode_too(
    settings: str, kafka: str, topic_prefix: str
) -> None:
    await edgeferry("topics", "apply", "--settings", settings)
    topic = f"{topic_prefix}.root"
    await append(kafka, Outgoing(topic, b"device", b"garbage", [("type", b"X")]))
    (row,) = await edgeferry("tail", topic, "--from-beginning", "-n", "1", "--settings", settings)
    assert (row["key"], row["headers"], row["bytes"]) == ("device", {"type": "X"}, b"garbage".hex())
    told = await say("tail", topic, "--from-beginning", "-n", "1", "--settings", settings)
    assert f"{topic}-{row['partition']}:0  device  undecodable  no schema id" in told.stdout


@pytest.mark.asyncio
async def test_a_dead_letter_is_listed_shown_and_replayed_whole(
    settings: str, kafka: str, topic_prefix: str
) -> None:
    await edgeferry("topics", "apply", "--settings", settings)
    target = f"{topic_prefix}.edge_root.save"
    letter = DeadLetter(
        key=b"device", value=b"\x01raw\xff", headers=(("type", b"X"), ("origin", b"edge")),
        topic=target, partition=1, offset=42, site=topic_prefix, chain="edge_root", node="save",
        error_class="Undecodable", error_text="no schema id", first_failure=1, last_failure=2,
        attempts=3,
    )  # fmt: skip
    await append(
        kafka, Outgoing(f"{topic_prefix}.dead-letters", b"device", encode_dead_letter(letter))
    )
    told = await say("dead-letters", "list", "--settings", settings)
    assert f"undecodable of device, at edge_root.save (record {target}-1:42)" in told.stdout
    assert "Undecodable: no schema id" in told.stdout
    (row,) = await edgeferry("dead-letters", "list", "--settings", settings)
    assert (row["node"], row["record"]) == ("save", f"{target} 1:42")
    assert row["error"] == "Undecodable: no schema id"
    shown = await edgeferry("dead-letters", "show", row["address"], "--settings", settings)
    told = await say("dead-letters", "show", row["address"], "--settings", settings)
    assert f"replay {row['address']}`" in told.stdout
    assert shown["holds"]["bytes"] == b"\x01raw\xff".hex()
    replayed = await edgeferry("dead-letters", "replay", row["address"], "--settings", settings)
    assert replayed == [{"address": row["address"], "replayed_to": target}]
    reader = KafkaReader(kafka)
    try:
        found = [
            record
            for partition, ends in (await reader.ends(target)).items()
            if ends.end
            for record in await reader.read(target, partition, 0, 1000, 5000)
        ]
    finally:
        await reader.stop()
    assert [(r.key, r.value, tuple(r.headers)) for r in found] == [
        (letter.key, letter.value, letter.headers)
    ]


@pytest.mark.asyncio
async def test_what_has_no_record_or_topic_is_told_and_the_others_are_replayed(
    settings: str, kafka: str, topic_prefix: str
) -> None:
    await edgeferry("topics", "apply", "--settings", settings)
    payload = DeadLetter(
        key=b"device", value=b'{"t": ', headers=(), topic="v1/devices/me/telemetry",
        partition=-1, offset=-1, site=topic_prefix, chain="", node="gateway",
        error_class="InvalidPayload", error_text="no JSON", first_failure=1, last_failure=1,
        attempts=1,
    )  # fmt: skip
    target = f"{topic_prefix}.root"
    record = payload._replace(topic=target, partition=0, offset=3, node="switch", last_failure=2)
    homeless = record._replace(topic=f"{topic_prefix}.gone", node="gone", last_failure=3)
    letters = [
        Outgoing(f"{topic_prefix}.dead-letters", b"device", encode_dead_letter(letter))
        for letter in (payload, record, homeless)
    ]
    await append(kafka, *letters)
    listed = await edgeferry("dead-letters", "list", "--settings", settings)
    assert [row["node"] for row in listed] == ["gateway", "switch", "gone"]
    of_gateway, of_switch, of_gone = (row["address"] for row in listed)
    shown = await edgeferry("dead-letters", "show", of_gateway, "--settings", settings)
    assert shown["payload"] == '{"t": '
    addresses = (of_gateway, of_switch, of_gone)
    ended = await run("dead-letters", "replay", *addresses, "--settings", settings)
    assert json.loads(ended.stdout) == [{"address": of_switch, "replayed_to": target}]
    assert ended.returncode == 1
    assert f"{of_gateway}: not a record but a bad payload" in ended.stderr
    assert f"{of_gone}: its topic {topic_prefix}.gone does not exist any more" in ended.stderr


@pytest.mark.asyncio
async def test_all_open_dead_letters_are_replayed_at_once_and_marked(
    settings: str, kafka: str, topic_prefix: str
) -> None:
    await edgeferry("topics", "apply", "--settings", settings)
    letter = DeadLetter(
        key=b"device", value=b"v", headers=(), topic=f"{topic_prefix}.root", partition=0,
        offset=3, site=topic_prefix, chain="", node="switch", error_class="E", error_text="why",
        first_failure=1, last_failure=1, attempts=1,
    )  # fmt: skip
    other = letter._replace(topic=f"{topic_prefix}.edge_root.save")
    letters = [
        Outgoing(f"{topic_prefix}.dead-letters", b"device", encode_dead_letter(one))
        for one in (letter, other, letter)
    ]
    await append(kafka, *letters)
    every = ("dead-letters", "replay", "--all", "--settings", settings)
    assert len(await edgeferry(*every, "--topic", other.topic)) == 1
    (marked,) = [
        row
        for row in await edgeferry("dead-letters", "list", "--settings", settings)
        if row["replayed_at"] is not None
    ]
    assert marked["record"] == f"{other.topic} 0:3"
    assert len(await edgeferry("dead-letters", "list", "--open", "--settings", settings)) == 2
    assert len(await edgeferry(*every)) == 2
    assert await edgeferry(*every) == []
    told = await say("dead-letters", "list", "--settings", settings)
    assert told.stdout.count("    replayed 20") == 3
    refused = await run("dead-letters", "replay", "--settings", settings)
    assert refused.returncode == 2
    assert "or give --all" in refused.stderr
