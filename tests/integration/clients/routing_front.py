"""A gateway that suites for brokers can be pointed to.

    python -m tests.integration.clients.routing_front PORT

Such suites publish to topics of their own and wait for what they subscribed to. A front maps
that to what devices do: a publish becomes client attributes, the gateway's log answers each by
a change of shared attributes, and that becomes the publish again, for those who subscribed.
Between the two is the gateway as it is: its sessions, acknowledgements, limits and refusals.
Clients without a user name get a device's token. Wildcards, retained messages and properties
of publishes are not mapped.
"""

import argparse
import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from edgeferry.core.clock import SystemClock
from edgeferry.core.record import Outgoing
from edgeferry.gateway.server import Gateway
from edgeferry.log.codec import decode_message
from tests.integration.clients import device_packets as wire
from tests.unit.gateway.fakes import DEVICE, TOKEN, MemoryLog, make_context

ATTRIBUTES: Final = b"v1/devices/me/attributes"
SPELLINGS: Final = (ATTRIBUTES, b"v2/a", b"v2/a/j")
_TOPIC_ALIAS: Final = 0x23
_ONE: Final = 0x02
_QOS: Final = 0x06


class RoutingLog(MemoryLog):
    """Client attributes that are durable come back as shared ones."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway: Gateway | None = None

    async def append(self, records: Sequence[Outgoing]) -> None:
        await super().append(records)
        assert self.gateway is not None
        for record in records:
            if record.topic.endswith(".root"):
                message = decode_message(record.value)
                if message.type == "POST_ATTRIBUTES_REQUEST":
                    self.gateway.api.sessions.push_attributes(DEVICE.id, message.json, [])


class Link:
    """One client's connection to the gateway. ``kept``: filters by client id."""

    def __init__(self, kept: dict[bytes, dict[bytes, bytes]]) -> None:
        self._kept = kept
        self._filters: dict[bytes, bytes] = {}
        self._aliases: dict[bytes, bytes] = {}
        self._version = 4

    def up(self, packet: wire.Packet) -> bytes:
        """The client's packet, as a device would send it."""
        try:
            match packet.kind:
                case wire.CONNECT:
                    body = self._connect(packet.body)
                case wire.PUBLISH:
                    body = self._publish(packet)
                case wire.SUBSCRIBE:
                    body = self._subscribe(packet.body)
                case wire.UNSUBSCRIBE:
                    body = self._unsubscribe(packet.body)
                case _:
                    body = packet.body
        except wire.Broken:
            body = packet.body
        return wire.packet(packet.first, body)

    def down(self, packet: wire.Packet) -> tuple[bytes, bytes]:
        """The gateway's packet as a broker would send it, and what the gateway is answered."""
        if packet.kind != wire.PUBLISH:
            return wire.packet(packet.first, packet.body), b""
        reader = wire.Reader(packet.body)
        if reader.block() not in SPELLINGS:
            return wire.packet(packet.first, packet.body), b""
        identifier = reader.take(2) if packet.first & _QOS else b""
        properties = reader.properties(self._version)
        sent: dict[str, Any] = json.loads(reader.rest)
        topic, answer, first = base64.b64decode(sent["topic"][1:]), b"", packet.first
        wanted = topic in self._filters
        if identifier and not (wanted and sent["qos"]):
            answer = wire.packet(0x40, identifier)
            identifier, first = b"", first & ~(_QOS | 0x08)
        if not wanted:
            return b"", answer
        body = wire.block(topic) + identifier + properties + base64.b64decode(sent["body"][1:])
        return wire.packet(first, body), answer

    def _connect(self, body: bytes) -> bytes:
        body = wire.whole(wire.of_device(wire.packet(0x10, body), 0, TOKEN)).body
        reader = wire.Reader(body)
        reader.block()
        self._version, flags = reader.take(1)[0], reader.take(1)[0]
        reader.take(2)
        reader.properties(self._version)
        name = reader.block()
        if flags & 2:
            self._kept.pop(name, None)
        self._filters = self._kept.setdefault(name, {})
        if not flags & 4:
            return body
        reader.properties(self._version)
        head, topic, payload = body[: reader.at], reader.block(), reader.block()
        if not _is_mapped(topic):
            return body
        said = _said(topic, flags >> 3 & 1, payload)
        return head + wire.block(ATTRIBUTES) + wire.block(said) + reader.rest

    def _publish(self, packet: wire.Packet) -> bytes:
        reader = wire.Reader(packet.body)
        topic = reader.block()
        identifier = reader.take(2) if packet.first & _QOS else b""
        properties = reader.properties(self._version)
        alias = properties[2:4] if properties[1:2] == bytes([_TOPIC_ALIAS]) else b""
        if alias and topic:
            self._aliases[alias] = topic
        name = topic or self._aliases.get(alias, b"")
        if not _is_mapped(name):
            raise wire.Broken
        said = _said(name, packet.first >> 1 & 3, reader.rest)
        return wire.block(ATTRIBUTES if topic else b"") + identifier + properties + said

    def _subscribe(self, body: bytes) -> bytes:
        reader = wire.Reader(body)
        out = reader.take(2) + reader.properties(self._version)
        while reader.rest:
            name, options = reader.block(), reader.take(1)
            if _is_mapped(name):
                spelling = SPELLINGS[len(self._filters) % len(SPELLINGS)]
                name = self._filters.setdefault(name, spelling)
            out += wire.block(name) + options
        return out

    def _unsubscribe(self, body: bytes) -> bytes:
        reader = wire.Reader(body)
        out = reader.take(2) + reader.properties(self._version)
        while reader.rest:
            name = reader.block()
            out += wire.block(self._filters.pop(name, name))
        return out


def _is_mapped(name: bytes) -> bool:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return False
    own = text.startswith(("v1/", "v2/", "$"))
    return bool(text) and not own and not any(c in text for c in "+#\0")


def _said(topic: bytes, qos: int, payload: bytes) -> bytes:
    told = {"topic": topic, "body": payload}
    # "=": no text is to look like a number
    texts = {name: "=" + base64.b64encode(value).decode() for name, value in told.items()}
    return json.dumps({**texts, "qos": qos}).encode()


async def _read_packet(reader: asyncio.StreamReader) -> bytes:
    """One packet, or what is there of one. Empty at the end."""
    data = b""
    try:
        data = await reader.read(1)
        size = 0
        for shift in (0, 7, 14, 21) if data else ():
            byte = await reader.readexactly(1)
            data += byte
            size |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return data + await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        return data + error.partial
    except ConnectionError:
        return b""
    return data


class Front:
    def __init__(self, gateway: str) -> None:
        self._host, _, self._port = gateway.rpartition(":")
        self._kept: dict[bytes, dict[bytes, bytes]] = {}
        self._serving: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_gateway, to_gateway = await asyncio.open_connection(self._host, int(self._port))
        link = Link(self._kept)
        up = asyncio.create_task(self._up(link, reader, to_gateway))
        try:
            while data := await _read_packet(from_gateway):
                told, answer = link.down(wire.whole(data))
                writer.write(told)
                to_gateway.write(answer)
        except wire.Broken:
            pass
        finally:
            up.cancel()
            to_gateway.close()
            writer.close()

    async def _up(
        self, link: Link, reader: asyncio.StreamReader, to_gateway: asyncio.StreamWriter
    ) -> None:
        while data := await _read_packet(reader):
            try:
                to_gateway.write(link.up(wire.whole(data)))
            except wire.Broken:
                to_gateway.write(data)
        to_gateway.transport.abort()


@asynccontextmanager
async def front(port: int = 0) -> AsyncIterator[int]:
    """Where it listens."""
    log = RoutingLog()
    gateway = Gateway(make_context(log, clock=SystemClock()), port=0)
    log.gateway = gateway
    await gateway.start()
    server = await asyncio.start_server(Front(gateway.address).accept, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await gateway.stop()


async def _run(port: int) -> None:
    async with front(port):
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    asyncio.run(_run(parser.parse_args().port))


if __name__ == "__main__":
    main()
