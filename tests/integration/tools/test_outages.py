"""A whole installation whose records are broken and whose servers are killed under load:
what is bad is set aside with its address, what was acknowledged arrives."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import httpx
import paho.mqtt.client as paho
import pytest
import pytest_asyncio
from paho.mqtt.enums import CallbackAPIVersion

from edgeferry.log.schemas import newest_id
from edgeferry.rules.inputs import input_topics
from edgeferry.rules.loader import load_chain
from edgeferry.sync.lanes import UP
from edgeferry.tools.bench.installation import Shape, running
from tests.integration.tools.two_ends import BASE_TS, Address, Load, TwoEnds, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEVICES = 3
ON_KAFKA = Shape(edge_log="kafka")
"""Both logs are looked into with Kafka's own clients."""
CHAIN_TOPICS = [
    *input_topics("edge", load_chain("edge_root", "edge"), root=True),
    *input_topics("cloud", load_chain("cloud_root", "cloud"), root=True),
]
RECEIVED_TOPICS = [f"cloud.{lane}" for lane in UP]
UNKNOWN_SCHEMA = struct.pack(">bI", 0, 4_000_000_000) + b"of a later version"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ends(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoEnds]:
    data = tmp_path_factory.mktemp("outages") / "data"
    async with (
        httpx.AsyncClient() as client,
        running(data, DEVICES, (), shape=ON_KAFKA) as installation,
    ):
        yield TwoEnds(installation, client)


def bad_values(subject: str) -> list[bytes | None]:
    cut = struct.pack(">bI", 0, newest_id(subject)) + b"\x02"
    return [b"\xff\x00 garbage", UNKNOWN_SCHEMA, cut, None]


async def test_an_undecodable_record_in_any_topic_is_set_aside_whole_and_the_stream_goes_on(
    ends: TwoEnds,
) -> None:
    expected = ends.append(
        ends.devices[0][0].encode(),
        {
            **{topic: bad_values("RuleMessage") for topic in CHAIN_TOPICS},
            **{topic: bad_values("CloudEvent") for topic in RECEIVED_TOPICS},
        },
    )

    async def set_aside() -> bool:
        return dict(await ends.dead_letters()).keys() >= expected.keys()

    await until(set_aside)
    await ends.until_it_flows("after_bad_records")
    letters = [letter for letter in await ends.dead_letters() if letter[0] in expected]
    assert len(letters) == len(expected)
    assert dict(letters) == expected


async def test_what_nobody_can_decode_crosses_the_link_and_is_set_aside_in_the_cloud(
    ends: TwoEnds,
) -> None:
    crossing = [b"\xfe first up", UNKNOWN_SCHEMA + b" up"]
    ends.append(ends.devices[0][0].encode(), {f"edge.{lane}": [*crossing] for lane in UP})
    expected = sorted((topic, value) for topic in RECEIVED_TOPICS for value in crossing)

    async def crossed() -> list[tuple[Address, bytes | None]]:
        return [letter for letter in await ends.dead_letters() if letter[1] in crossing]

    async def set_aside() -> bool:
        return len(await crossed()) >= len(expected)

    await until(set_aside)
    await ends.until_it_flows("after_crossing")
    letters = await crossed()
    assert sorted((at[1], value) for at, value in letters if value) == expected
    assert {at[0] for at, _ in letters} == {"cloud"}
    for (_, topic, partition, offset), value in letters:
        stood = [r for r in await ends.records(topic) if r[1:3] == (partition, offset)]
        assert [record.value for record in stood] == [value]


async def test_broken_payloads_are_answered_and_disturb_nobody(ends: TwoEnds) -> None:
    before = len(await ends.dead_letters())
    broken = [b"", b"{", b"\xff\xfe", b"[1, 2]", b'{"ts": "x", "values": {"a": 1}}', b"null"]
    for body in broken:
        answer = await ends.post(body)
        assert answer.status_code == 400
        assert answer.text
    host, port = ends.edge_mqtt

    def talk() -> None:
        device = paho.Client(CallbackAPIVersion.VERSION2)
        device.username_pw_set(ends.devices[0][1])
        device.connect(host, port)
        device.loop_start()
        topic = "v1/devices/me/telemetry"
        for body in [*broken, b'{"ts": %d, "values": {"over_mqtt": 7}}' % (BASE_TS + 7)]:
            device.publish(topic, body, 1).wait_for_publish(20)
        device.disconnect()
        device.loop_stop()

    await asyncio.to_thread(talk)

    async def arrived() -> bool:
        return await ends.stored("over_mqtt") == {7: "7"}

    await until(arrived)
    await ends.until_it_flows("after_broken_payloads")
    assert len(await ends.dead_letters()) - before == len(broken)  # those over MQTT, kept


async def test_a_device_that_speaks_no_mqtt_is_dropped_alone(ends: TwoEnds) -> None:
    reader, writer = await asyncio.open_connection(*ends.edge_mqtt)
    writer.write(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            while await reader.read(1000):
                pass
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await ends.until_it_flows("after_no_mqtt")


async def test_the_edge_takes_messages_while_cassandra_is_killed_and_all_of_them_arrive(
    ends: TwoEnds,
) -> None:
    taken_meanwhile = await killed_under_load(ends, "cassandra")
    assert min(taken_meanwhile) > 0


async def test_what_was_acknowledged_around_a_kill_of_kafka_arrives(ends: TwoEnds) -> None:
    await killed_under_load(ends, "kafka")
    for role in ("edge", "cloud"):
        lines = (ends.installation.data / "logs" / f"{role}.log").read_text().splitlines()
        assert [line for line in lines if not line.startswith("{")] == []  # JSON lines, no others


async def killed_under_load(ends: TwoEnds, server: str) -> list[int]:
    """Kill a server while every device publishes: it comes back, everybody else stays, no
    message is set aside, and nothing acknowledged is lost. Returns how many messages were
    acknowledged to each device from the kill until the server was back."""
    pids, letters = ends.installation.pids(), len(await ends.dead_letters())
    load = Load(ends, f"while_{server}_was_killed")
    async with load.running():
        await load.until_more(20)
        before = load.counts
        await ends.kill(server)
        back = load.counts
        await load.until_more(20)
    await load.until_all_stored()
    after = ends.installation.pids()
    assert after.keys() == pids.keys()
    assert {name for name in pids if after[name] != pids[name]} == {server}
    assert len(await ends.dead_letters()) == letters
    return [then - first for first, then in zip(before, back, strict=True)]
