"""From the topic of commands to the sessions."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from edgeferry.core.errors import LogUnavailable
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import PartitionEnds, Record
from edgeferry.gateway import command_feed
from edgeferry.gateway.command_feed import CommandFeed
from edgeferry.gateway.device_sessions import DeviceSessions
from edgeferry.gateway.ports import Command
from edgeferry.log.codec import encode_message
from tests.unit.gateway.fakes import DEVICE, TENANT, FixedDevices
from tests.unit.gateway.links import FakeLink

TOPIC = "edge.device-commands"


class Topic:
    """One partition in memory, which fails once."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.failures = 1
        self.read_to = asyncio.Event()

    async def ends(self, topic: str) -> Mapping[int, PartitionEnds]:
        assert topic == TOPIC
        return {0: PartitionEnds(0, len(self.values))}

    async def read(
        self, topic: str, partition: int, offset: int, max_bytes: int, wait_ms: int
    ) -> Sequence[Record]:
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("the log is away")
        if offset >= len(self.values):
            self.read_to.set()
            await asyncio.sleep(0.005)
        return [
            Record(topic, partition, at, 0, None, value, ())
            for at, value in enumerate(self.values[offset:], offset)
        ]


def message(type_: str, data: str, metadata: Mapping[str, str] | None = None) -> bytes:
    found = RuleMessage(
        "id", TENANT, 1, 1, [], type_, "DEVICE", DEVICE.id, metadata or {}, "JSON", data
    )
    return encode_message(found)


@pytest.mark.asyncio
async def test_what_comes_after_the_start_reaches_the_sessions_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command_feed, "_RETRY_SECONDS", 0.01)
    topic, link, sessions = Topic(), FakeLink(), DeviceSessions()
    commands: list[tuple[str, Command]] = []
    sessions.add(DEVICE.id, "session", link)
    topic.values.append(message("ATTRIBUTES_UPDATED", '{"before": 1}'))
    devices = FixedDevices()
    feed = CommandFeed(
        site="edge",
        service_id="here",
        reader=topic,
        sessions=sessions,
        push_command=lambda device_id, command: commands.append((device_id, command)),
        devices=devices,
    )
    await feed.start()
    async with asyncio.timeout(5):
        await topic.read_to.wait()
    call = {"serviceId": "here", "sessionId": "session", "requestId": "4"}
    topic.values += [
        message("ATTRIBUTES_UPDATED", '{"limit": 1}'),
        b"not a message",
        message("ATTRIBUTES_DELETED", '{"attributes": ["limit"]}'),
        message("RPC_CALL_FROM_SERVER_TO_DEVICE", '{"method": "m"}'),
        message(
            "RPC_CALL_FROM_SERVER_TO_DEVICE",
            '{"method": "m", "params": {"v": 1}}',
            {"requestUUID": "r", "expirationTime": "1900000000000", "oneway": "true"},
        ),
        message("ENTITY_UPDATED", "{}"),
        message("TO_SERVER_RPC_RESPONSE", "1", call | {"serviceId": "there"}),
        message("TO_SERVER_RPC_RESPONSE", "2", call | {"sessionId": "gone"}),
        message("TO_SERVER_RPC_RESPONSE", "3", call),
    ]
    async with asyncio.timeout(5):
        while not link.answers:
            await asyncio.sleep(0.005)
    assert feed.health().alive
    await feed.stop()
    assert link.told == [({"limit": 1}, []), ({}, ["limit"])]
    assert commands == [(DEVICE.id, Command("r", "m", '{"v":1}', 1_900_000_000_000, True))]
    assert link.answers == [(4, "3")]
    assert devices.forgotten == ["all", DEVICE.id]
