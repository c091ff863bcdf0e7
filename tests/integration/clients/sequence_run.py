"""Runs mosquitto's packet sequences against a device endpoint.

    python -m tests.integration.clients.sequence_run FOLDER [--mqtt HOST:PORT --token TOKEN]

Without an address, against a gateway of this process. Prints what passed, what was answered
otherwise and why that is right here, and what failed; ends with 1 when anything failed.
"""

import argparse
import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgeferry.core.clock import SystemClock
from edgeferry.gateway.server import Gateway
from tests.integration.clients import device_packets as wire
from tests.integration.clients.not_here import why_not
from tests.integration.clients.sequences import Case, Step, read_cases
from tests.unit.gateway.fakes import TOKEN, MemoryLog, make_context

_PATIENCE: Final = 0.2
_DEADLINE: Final = 3.0
_PING: Final = b"\xc0\x00"
_NO_SUBSCRIBERS: Final = b"\x10"


class Otherwise(Exception):
    """The server did not do what the case wants."""


class Client:
    def __init__(self, address: tuple[str, int], token: str, version: int) -> None:
        self._address = address
        self._token = token
        self._version = version
        self._socket = socket.create_connection(address, _DEADLINE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> wire.Packet | None:
        """None when the server has closed. Raises TimeoutError."""
        try:
            first = self._socket.recv(1)
            return wire.Packet(first[0], self._exactly(self._length())) if first else None
        except ConnectionError:
            return None

    def follow(self, case: Case) -> None:
        """Raises Otherwise."""
        if case.connects:
            self.send(wire.connect(case.title, self._version, self._token))
            _expect(self.receive(), wire.Packet(0x20, b"\0\0\0"), self._version)
        for step in case.steps:
            self._do(step)
        if case.ends:
            self._expect_end()
        else:
            self.send(_PING)
            _expect(self.receive(), wire.Packet(0xD0, b""), self._version)

    def _do(self, step: Step) -> None:
        match step.kind:
            case "send":
                self.send(wire.of_device(step.packet, self._version, self._token))
            case "recv":
                _expect(self.receive(), wire.whole(step.packet), self._version)
            case "external_publish":
                self._another_publishes(step)
            case _:
                self._subscribe(step)

    def _another_publishes(self, step: Step) -> None:
        other = Client(self._address, self._token, 4)
        other.send(wire.connect("another", 4, self._token))
        other.receive()
        body = wire.block(step.topic.encode()) + (b"\0\1" if step.qos else b"")
        other.send(
            wire.of_device(
                wire.packet(0x30 | step.qos << 1, body + step.payload.encode()), 4, self._token
            )
        )
        if step.qos:
            other.receive()
        other.close()

    def _subscribe(self, step: Step) -> None:
        on = step.kind == "subscribe"
        body = b"\0\1" + (b"\0" if self._version == 5 else b"") + wire.block(step.topic.encode())
        data = wire.packet(0x82, body + bytes([step.qos])) if on else wire.packet(0xA2, body)
        self.send(wire.of_device(data, self._version, self._token))
        self.receive()

    def _expect_end(self) -> None:
        """A last word why is allowed. What is still there after a while is asked."""
        self._socket.settimeout(_PATIENCE)
        try:
            self._read_to_end()
        except TimeoutError:
            self._socket.settimeout(_DEADLINE)
            self.send(_PING)
            self._read_to_end()

    def _read_to_end(self) -> None:
        while (answer := self.receive()) is not None:
            if answer.kind not in (wire.DISCONNECT, wire.CONNACK):
                raise Otherwise(f"the connection stays: {_shown(answer, self._version)}")

    def _length(self) -> int:
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self._exactly(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        return value

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                raise ConnectionResetError("closed within a packet")
            data += more
        return data


def _expect(answer: wire.Packet | None, wanted: wire.Packet, version: int) -> None:
    if _meaning(answer, version) != _meaning(wanted, version):
        raise Otherwise(f"wanted {_shown(wanted, version)}, got {_shown(answer, version)}")


def _meaning(answer: wire.Packet | None, version: int) -> tuple[object, ...]:
    """Without what a server may choose: properties, reason strings."""
    if answer is None:
        return ("the end",)
    body = answer.body
    match answer.kind:
        case wire.CONNACK:
            return answer.kind, body[:2]
        case wire.DISCONNECT:
            return answer.kind, body[:1] or b"\0"
        case wire.PUBACK:
            code = body[2:3] or b"\0"
            return answer.kind, body[:2], b"\0" if code == _NO_SUBSCRIBERS else code
        case wire.SUBACK | wire.UNSUBACK:
            reader = wire.Reader(body, 2)
            reader.properties(version)
            return answer.kind, body[:2], reader.rest
        case _:
            return answer.first, body


def _shown(answer: wire.Packet | None, version: int) -> str:
    kind, *rest = _meaning(answer, version)
    return " ".join([str(kind), *(x.hex() if isinstance(x, bytes) else str(x) for x in rest)])


Results = Sequence[tuple[Case, str]]


def run(cases: Sequence[Case], address: tuple[str, int], token: str) -> Results:
    """What was done otherwise, of each case where something was."""
    otherwise: list[tuple[Case, str]] = []
    for case in cases:
        client = Client(address, token, case.version)
        try:
            client.follow(case)
        except (Otherwise, TimeoutError, ConnectionError) as error:
            otherwise.append((case, str(error) or type(error).__name__))
        finally:
            client.close()
    return otherwise


def report(cases: Sequence[Case], otherwise: Results) -> int:
    """How many failed."""
    reasons: Counter[str] = Counter()
    failed = 0
    for case, what in otherwise:
        reason = why_not(case, what)
        if reason is None:
            failed += 1
            print(f"FAILED {case.title}: {what}")  # noqa: T201
        else:
            reasons[reason] += 1
    print(f"{len(cases) - len(otherwise)} of {len(cases)} passed, {failed} failed")  # noqa: T201
    for reason, count in reasons.most_common():
        print(f"{count:5} not here: {reason}")  # noqa: T201
    return failed


async def against_a_gateway(cases: Sequence[Case]) -> Results:
    gateway = Gateway(make_context(MemoryLog(), clock=SystemClock()), port=0)
    await gateway.start()
    try:
        host, _, port = gateway.address.rpartition(":")
        return await asyncio.to_thread(run, cases, (host, int(port)), TOKEN)
    finally:
        await gateway.stop()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mqtt", metavar="HOST:PORT")
    parser.add_argument("--token", default=TOKEN)
    options = parser.parse_args()
    cases = read_cases(options.folder)
    if options.mqtt:
        host, _, port = options.mqtt.rpartition(":")
        otherwise = run(cases, (host, int(port)), options.token)
    else:
        otherwise = asyncio.run(against_a_gateway(cases))
    return 1 if report(cases, otherwise) else 0


if __name__ == "__main__":
    sys.exit(main())
