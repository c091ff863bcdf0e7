"""Commands that are sent with QoS 0: what is said of them is what is known."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from edgeferry.gateway.mqtt.connection import Connection
from edgeferry.gateway.mqtt.handover import MOST_WATCHED, Handover
from edgeferry.gateway.ports import Command
from edgeferry.gateway.server import Gateway
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.conftest import OpenClient
from tests.unit.gateway.fakes import DEVICE, MemoryLog
from tests.unit.gateway.links import FakeCommands
from tests.unit.gateway.test_device_api import ME, subscribe
from tests.unit.gateway.test_gateway import until

pytestmark = pytest.mark.asyncio
ONE_WAY = Command("rpc-1", "setValue", '{"v":1}', oneway=True)
LARGE = "x" * 60_000
BOTH = [("rpc-1", "DELIVERED", ""), ("rpc-1", "SUCCESSFUL", "")]


class Pipe:
    """A transport to a peer in this process that reads when it is told to."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            self.mine = socket.create_connection(server.getsockname())
            self.peer, _ = server.accept()
        self.peer.setblocking(False)
        self.said: list[str] = []

    async def open(self) -> "Pipe":
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_connection(asyncio.Protocol, sock=self.mine)
        self.handover = Handover(self.transport, lambda: self.said.append("room"))
        return self

    def send(self, data: bytes, name: str) -> None:
        self.handover.write(data)
        self.handover.watch(
            lambda: self.said.append(f"{name} taken"), lambda: self.said.append(f"{name} lost")
        )

    def read(self) -> None:
        while True:
            try:
                if not self.peer.recv(1 << 20):
                    return
            except BlockingIOError:
                return

    def close(self) -> None:
        self.handover.stop()
        self.transport.abort()
        self.peer.close()


@pytest_asyncio.fixture
async def pipe() -> AsyncIterator[Pipe]:
    found = await Pipe().open()
    yield found
    found.close()


async def test_what_is_written_is_taken_when_the_other_system_has_it(pipe: Pipe) -> None:
    pipe.send(b"small", "a")
    await until(lambda: pipe.said == ["a taken"])


async def test_what_waits_for_a_peer_that_does_not_read_is_not_taken(pipe: Pipe) -> None:
    pipe.send(b"x" * 10_000_000, "a")
    pipe.send(b"y", "b")
    for _ in range(20):
        await asyncio.sleep(0.005)
        pipe.handover.look()
    assert pipe.said == []
    async with asyncio.timeout(5):
        while len(pipe.said) < 2:
            pipe.read()
            await asyncio.sleep(0)
    assert pipe.said == ["a taken", "b taken"]


async def test_what_was_not_taken_at_the_end_is_lost(pipe: Pipe) -> None:
    pipe.send(b"x" * 10_000_000, "a")
    pipe.handover.stop()
    pipe.send(b"y", "b")
    pipe.handover.look()
    assert pipe.said == ["a lost", "b lost"]


async def test_so_many_are_watched_and_it_is_told_when_there_is_room(pipe: Pipe) -> None:
    pipe.handover.write(b"x" * 10_000_000)
    for number in range(MOST_WATCHED):
        assert not pipe.handover.full
        pipe.send(b"y", str(number))
    assert pipe.handover.full
    async with asyncio.timeout(5):
        while "room" not in pipe.said:
            pipe.read()
            await asyncio.sleep(0)
    assert not pipe.handover.full


async def test_a_one_way_command_is_done_when_the_devices_system_has_it(
    client: OpenClient, gateway: Gateway, log: MemoryLog
) -> None:
    device = await client()
    await subscribe(device, ME + "rpc/request/+", 0)
    gateway.api.push_command(DEVICE.id, ONE_WAY)
    assert (await device.receive()).qos == 0
    await until(lambda: log.states() == BOTH)
    assert len(gateway.api.desk) == 0


async def test_a_device_that_leaves_at_once_may_have_taken_it(
    client: OpenClient, gateway: Gateway, log: MemoryLog
) -> None:
    device = await client()
    await subscribe(device, ME + "rpc/request/+", 0)
    gateway.api.push_command(DEVICE.id, ONE_WAY)
    await device.receive()
    device.send_bytes(b"\xe0\0")
    await until(lambda: log.states() == BOTH)


def stall(gateway: Gateway) -> None:
    """Push to the device until our system takes no more of it."""
    (connection,) = gateway._sessions.all
    assert isinstance(connection, Connection)
    while connection.is_read:
        gateway.api.sessions.push_attributes(DEVICE.id, {"large": LARGE}, ())


async def stalled(client: OpenClient, gateway: Gateway) -> RawClient:
    """A device that reads nothing any more."""
    device = await client()
    await subscribe(device, ME + "rpc/request/+", 0)
    await subscribe(device, ME + "attributes", 0)
    stall(gateway)
    return device


async def until_read(device: RawClient, kind: str) -> None:
    while kind not in (await device.receive()).topic:
        pass


async def test_commands_wait_in_the_store_while_the_device_does_not_read(
    client: OpenClient, gateway: Gateway, log: MemoryLog, commands: FakeCommands
) -> None:
    device = await stalled(client, gateway)
    commands.waiting = [ONE_WAY]
    gateway.api.push_command(DEVICE.id, ONE_WAY)
    await gateway.check()
    assert (commands.claimed, log.states()) == ([], [])
    await until_read(device, "rpc/request")
    await until(lambda: log.states() == BOTH)
    assert commands.claimed == ["rpc-1"]


async def test_a_command_that_the_device_did_not_take_stays_sent(
    client: OpenClient, gateway: Gateway, log: MemoryLog, commands: FakeCommands
) -> None:
    device = await client()
    await subscribe(device, ME + "rpc/request/+", 0)
    gateway.api.push_command(DEVICE.id, replace(ONE_WAY, params=f'"{LARGE * 200}"'))
    await until(lambda: commands.claimed == ["rpc-1"])
    await until(lambda: len(gateway.api.desk) == 1)
    device._writer.transport.abort()
    await until(lambda: len(gateway.api.desk) == 0)
    assert log.states() == []
    commands.waiting = [replace(ONE_WAY, attempts=1)]
    again = await client()
    await subscribe(again, ME + "rpc/request/+", 0)
    await again.silent()
    assert commands.claimed == ["rpc-1"]
    commands.waiting = [replace(ONE_WAY, attempts=1, retries=1)]
    await subscribe(again, ME + "rpc/request/+", 0)
    await until_read(again, "rpc/request")
    assert commands.claimed == ["rpc-1", "rpc-1"]
    await until(lambda: log.states() == BOTH)


async def test_a_device_behind_a_gateway_that_does_not_read_gets_its_command_later(
    client: OpenClient, gateway: Gateway, log: MemoryLog, commands: FakeCommands
) -> None:
    device = await client()
    await subscribe(device, "v1/gateway/rpc", 0)
    await subscribe(device, ME + "attributes", 0)
    device.publish(1, '{"device": "n1"}', "v1/gateway/connect")
    assert await device.acknowledged(1) == [1]
    stall(gateway)
    commands.waiting = [ONE_WAY]
    gateway.api.push_command("id-of-n1", ONE_WAY)
    await gateway.check()
    assert commands.claimed == []
    await until_read(device, "gateway/rpc")
    await until(lambda: log.states() == BOTH)
