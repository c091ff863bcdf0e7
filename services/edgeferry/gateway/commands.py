"""Commands to devices that are under way through this gateway.

SENT before a link gets the command (``command_queue``), DELIVERED when the device confirmed it
(of MQTT's QoS 0, which has no confirmation: when the device's system has taken it),
SUCCESSFUL when it answered (a one-way command: when it was delivered), EXPIRED when its time is
over. Each of these becomes a record for the attributes service through the gateway's own
appends, in order. A command that is under way is not sent again, unless the session that had
it ended before the device confirmed it: then with the same request id, by which the device
can tell.
"""

import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from edgeferry.core.changes import RpcStatus
from edgeferry.core.clock import Clock
from edgeferry.core.record import Outgoing
from edgeferry.gateway.ports import Command, DeviceLink, Handed

_IDS: Final = 2**30
NEVER_ANSWERED_MS: Final = 24 * 3600 * 1000
"""After which a command without an end of its own is forgotten here."""

log = logging.getLogger(__name__)
State = Callable[[str, str, RpcStatus, str], Outgoing]
"""Makes the record: device id, rpc id, state, body (JSON text)."""
Append = Callable[[list[Outgoing], Callable[[], None]], None]
"""Puts records into the log without waiting, again and again until it takes them, and calls
the second argument then."""


def request_id_of(rpc_id: str) -> int:
    """The number that a device gets a command under, the same from every process."""
    return zlib.crc32(rpc_id.encode()) % _IDS


@dataclass(slots=True)
class _UnderWay:
    device_id: str
    request_id: int
    command: Command
    forget_ms: int
    owner: object | None = None
    delivered: bool = False
    ended: bool = False
    """It is known until its end is durable, that it is not sent again meanwhile."""


class CommandDesk:
    def __init__(self, *, clock: Clock, state: State, append: Append) -> None:
        self._now_ms = clock.now_ms
        self._state = state
        self._append = append
        self._by_rpc: dict[str, _UnderWay] = {}
        self._by_request: dict[tuple[str, int], _UnderWay] = {}

    def __len__(self) -> int:
        return len(self._by_rpc)

    def knows(self, rpc_id: str) -> bool:
        return rpc_id in self._by_rpc

    def is_open(self, command: Command) -> bool:
        """Its time is not over."""
        return not 0 < command.expires_ms <= self._now_ms()

    def wants(self, device_id: str, request_id: int) -> bool:
        """Whether the device is still to get it."""
        under_way = self._by_request.get((device_id, request_id))
        return under_way is not None and not under_way.ended and self.is_open(under_way.command)

    def send(self, device_id: str, command: Command, link: DeviceLink | None) -> bool:
        """One that this process alone may send. Whether the link has taken it: not when its
        time is over or a link has it. One that no link has waits for the next."""
        known = self._by_rpc.get(command.rpc_id)
        if known is not None and (known.owner is not None or known.delivered or known.ended):
            return False
        if not self.is_open(command):
            return False
        under_way = known or self._begin(device_id, command)
        if link is None:
            return False
        under_way.owner = link.owner
        if link.command(under_way.request_id, command) is Handed.REFUSED:
            under_way.owner = None
            return False
        return True

    def unsure(self, device_id: str, request_id: int) -> None:
        """It was sent without a confirmation to come, and the connection broke before the
        device's system had taken it. It stays SENT: whether it is sent again is for its
        ``retries`` to say, as after a restart."""
        under_way = self._by_request.get((device_id, request_id))
        if under_way is not None and not (under_way.delivered or under_way.ended):
            self._end(under_way)

    def delivered(self, device_id: str, request_id: int) -> None:
        """The device has the command."""
        under_way = self._by_request.get((device_id, request_id))
        if under_way is None or under_way.delivered:
            return
        under_way.delivered = True
        records = [self._state(device_id, under_way.command.rpc_id, RpcStatus.DELIVERED, "")]
        if under_way.command.oneway:
            self._end_with(under_way, RpcStatus.SUCCESSFUL, "", before=records)
        else:
            self._append(records, _nothing)

    def answered(self, device_id: str, request_id: int, body: str) -> list[Outgoing]:
        """The device's answer (JSON text): records that have to be durable before it is
        acknowledged; none for an answer to nothing that is under way, or too late."""
        under_way = self._by_request.get((device_id, request_id))
        if under_way is None or under_way.ended or not self.is_open(under_way.command):
            log.info("device %s answers request %d, which is not under way", device_id, request_id)
            return []
        self._end(under_way)
        rpc_id = under_way.command.rpc_id
        records = [self._state(device_id, rpc_id, RpcStatus.SUCCESSFUL, body)]
        if not under_way.delivered:  # many clients answer before they acknowledge
            records.insert(0, self._state(device_id, rpc_id, RpcStatus.DELIVERED, ""))
        return records

    def release(self, owner: object) -> None:
        """A session has ended for good: what it had and the device did not confirm may be
        sent by another."""
        for under_way in self._by_rpc.values():
            if under_way.owner is owner:
                under_way.owner = None

    def check(self) -> None:
        """To be called every second or so: commands that ran out of time."""
        now_ms = self._now_ms()
        for under_way in [one for one in self._by_rpc.values() if one.forget_ms <= now_ms]:
            if under_way.ended:
                continue
            if under_way.command.expires_ms:
                body = {"error": "the device did not answer in time"}
                self._end_with(under_way, RpcStatus.EXPIRED, orjson.dumps(body).decode())
            else:
                self._end(under_way)

    def give_up(self, device_id: str, command: Command) -> None:
        """It was sent as often as it may be, and never confirmed."""
        error = f"the device confirmed none of {command.attempts} attempts: retries are used up"
        body = orjson.dumps({"error": error}).decode()
        record = self._state(device_id, command.rpc_id, RpcStatus.FAILED, body)
        self._append([record], _nothing)

    def late(self, device_id: str, command: Command, body: str) -> list[Outgoing]:
        """Of an answer to what another process has sent, unless its time is over."""
        if not self.is_open(command):
            return []
        return [self._state(device_id, command.rpc_id, RpcStatus.SUCCESSFUL, body)]

    def _begin(self, device_id: str, command: Command) -> _UnderWay:
        request_id = request_id_of(command.rpc_id)
        while (device_id, request_id) in self._by_request:
            request_id = (request_id + 1) % _IDS
        forget_ms = command.expires_ms or self._now_ms() + NEVER_ANSWERED_MS
        under_way = _UnderWay(device_id, request_id, command, forget_ms)
        self._by_rpc[command.rpc_id] = under_way
        self._by_request[device_id, request_id] = under_way
        return under_way

    def _end(self, under_way: _UnderWay) -> None:
        del self._by_rpc[under_way.command.rpc_id]
        del self._by_request[under_way.device_id, under_way.request_id]

    def _end_with(
        self, under_way: _UnderWay, status: RpcStatus, body: str, before: Sequence[Outgoing] = ()
    ) -> None:
        """When this last state is durable."""
        under_way.ended = True
        record = self._state(under_way.device_id, under_way.command.rpc_id, status, body)
        self._append([*before, record], lambda: self._end(under_way))


def _nothing() -> None:
    """Follows."""
