"""Commands to devices that are under way through this gateway.

SENT when a link took the command, DELIVERED when the device confirmed it, SUCCESSFUL when it
answered (a one-way command: when it was delivered), TIMEOUT when it expired meanwhile. Each
state becomes a record for the attributes service through the gateway's own appends, in order.
A command that is under way is not sent again, unless the session that had it ended before the
device confirmed it: then with the same request id, by which the device can tell.
"""

import logging
from collections.abc import Callable
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


@dataclass(slots=True)
class _UnderWay:
    device_id: str
    request_id: int
    command: Command
    forget_ms: int
    owner: object | None = None
    delivered: bool = False


class CommandDesk:
    """``append`` takes records for the log and does not wait.

    Request ids begin anew with each process, at its clock's seconds: a late answer to a
    command of the last process meets none of this one."""

    def __init__(
        self, *, clock: Clock, state: State, append: Callable[[list[Outgoing]], None]
    ) -> None:
        self._now_ms = clock.now_ms
        self._state = state
        self._append = append
        self._next_id = clock.now_ms() // 1000 % _IDS
        self._by_rpc: dict[str, _UnderWay] = {}
        self._by_request: dict[tuple[str, int], _UnderWay] = {}

    def __len__(self) -> int:
        return len(self._by_rpc)

    def send(self, device_id: str, command: Command, link: DeviceLink) -> bool:
        """Whether the link has taken it. Not when it expired or is under way."""
        now_ms = self._now_ms()
        if command.expires_ms and command.expires_ms <= now_ms:
            return False
        known = self._by_rpc.get(command.rpc_id)
        if known is not None and (known.owner is not None or known.delivered):
            return False
        under_way = known or self._begin(device_id, command, now_ms)
        under_way.owner = link.owner
        handed = link.command(under_way.request_id, command)
        if handed is Handed.REFUSED:
            under_way.owner = None
            if known is None:
                self._end(under_way)
            return False
        if known is None:
            self._report(under_way, RpcStatus.SENT)
        if handed is Handed.DELIVERED:
            self.delivered(device_id, under_way.request_id)
        return True

    def delivered(self, device_id: str, request_id: int) -> None:
        """The device confirmed that it has the command."""
        under_way = self._by_request.get((device_id, request_id))
        if under_way is None or under_way.delivered:
            return
        under_way.delivered = True
        self._report(under_way, RpcStatus.DELIVERED)
        if under_way.command.oneway:
            self._report(under_way, RpcStatus.SUCCESSFUL)
            self._end(under_way)

    def answered(self, device_id: str, request_id: int, body: str) -> list[Outgoing]:
        """The device's answer (JSON text): records that have to be durable before it is
        acknowledged; none for an answer to nothing that is under way."""
        under_way = self._by_request.get((device_id, request_id))
        if under_way is None:
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
            if under_way.command.expires_ms:
                body = {"error": "the device did not answer in time"}
                self._report(under_way, RpcStatus.TIMEOUT, orjson.dumps(body).decode())
            self._end(under_way)

    def _begin(self, device_id: str, command: Command, now_ms: int) -> _UnderWay:
        self._next_id = (self._next_id + 1) % _IDS
        forget_ms = command.expires_ms or now_ms + NEVER_ANSWERED_MS
        under_way = _UnderWay(device_id, self._next_id, command, forget_ms)
        self._by_rpc[command.rpc_id] = under_way
        self._by_request[device_id, under_way.request_id] = under_way
        return under_way

    def _end(self, under_way: _UnderWay) -> None:
        del self._by_rpc[under_way.command.rpc_id]
        del self._by_request[under_way.device_id, under_way.request_id]

    def _report(self, under_way: _UnderWay, status: RpcStatus, body: str = "") -> None:
        rpc_id = under_way.command.rpc_id
        self._append([self._state(under_way.device_id, rpc_id, status, body)])
