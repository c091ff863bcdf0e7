"""What devices may ask and answer, the same over MQTT and HTTP."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from edgeferry.core.errors import EdgeferryError, InvalidPayload, Later
from edgeferry.core.record import Outgoing
from edgeferry.gateway.appender import Appender, weight
from edgeferry.gateway.attribute_requests import Wanted, read
from edgeferry.gateway.command_queue import CommandQueue
from edgeferry.gateway.commands import CommandDesk, request_id_of
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.device_sessions import DeviceSessions
from edgeferry.gateway.devices import Device
from edgeferry.gateway.payload import read_document, to_text
from edgeferry.gateway.ports import Command
from edgeferry.gateway.presence import Presence
from edgeferry.gateway.records import CallAddress, Records

SESSION_LIMITS: Final = "getSessionLimits"
MOST_IN_FLIGHT: Final = 512
"""Publishes of a device without acknowledgement; announced to MQTT 5 clients, too."""
_MOST_TASKS: Final = 1_000

log = logging.getLogger(__name__)


class Busy(InvalidPayload):
    """Too many questions are open."""


class NoAttributes(Later):
    """This process reads none."""


class DeviceApi:
    """``service_id`` names this gateway process in the calls of its devices."""

    def __init__(self, context: GatewayContext, records: Records, appender: Appender) -> None:
        self.context = context
        self.records = records
        self.service_id = context.ids.next()
        self._appender = appender
        self.presence = Presence(context, records, appender)
        self.desk = CommandDesk(
            clock=context.clock, state=records.command_state, append=self._append
        )
        self.sessions = DeviceSessions()
        self._queue = self._command_queue()
        self._awake: dict[str, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def question(self, work: Coroutine[Any, Any, None]) -> None:
        """``spawn`` for what a device may ask for without end. Raises Busy."""
        if len(self._tasks) >= _MOST_TASKS:
            work.close()
            raise Busy("too many questions of devices are open: ask again later")
        self.spawn(work)

    def wake(self, device_id: str) -> None:
        """The device takes commands now: send those that wait."""
        if device_id in self._awake:
            self._awake[device_id] = True
        else:
            self._awake[device_id] = False
            self.spawn(self._send_pending(device_id))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside what comes next."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def attributes(self, device_id: str, wanted: Wanted) -> str:
        """The answer to a device's question, as JSON text. Raises Later."""
        reader = self.context.ports.attributes
        if reader is None:
            raise NoAttributes("this gateway has no attributes to read")
        return to_text(await read(reader, device_id, wanted))

    async def attributes_or_error(self, device_id: str, wanted: Wanted) -> str:
        """The same for who can be told in the answer only: ``{"error": ".."}``."""
        try:
            return await self.attributes(device_id, wanted)
        except Later as error:
            return to_text({"error": str(error)})

    async def _send_pending(self, device_id: str) -> None:
        """In order, until nobody asked for it meanwhile."""
        try:
            again = True
            while again:
                self._awake[device_id] = False
                await self._send_pending_once(device_id)
                again = self._awake[device_id]
        finally:
            del self._awake[device_id]

    async def _send_pending_once(self, device_id: str) -> None:
        commands = self.context.ports.commands
        if commands is None:
            return
        try:
            pending = await commands.pending(device_id)
        except EdgeferryError as error:
            log.warning("commands of device %s are sent later: %s", device_id, error)
            return
        for command in pending:
            self.push_command(device_id, command)

    def push_command(self, device_id: str, command: Command) -> None:
        """To one link, if there is one now; else it waits where commands are kept."""
        if self._queue is not None:
            self._queue.put(device_id, command)

    def _command_queue(self) -> CommandQueue | None:
        kept = self.context.ports.commands
        if kept is None:
            return None
        return CommandQueue(
            desk=self.desk, kept=kept, link_of=self.sessions.commands_wanted, spawn=self.spawn
        )

    def call(
        self, device: Device, session_id: str, call_id: int, payload: bytes
    ) -> tuple[str | None, list[Outgoing]]:
        """A device's call: the answer where we know it, else records for the root chain.

        Raises InvalidPayload."""
        body = read_document(payload, self.context.limits)
        if not isinstance(body, dict) or not isinstance(body.get("method"), str):
            raise InvalidPayload('a call is an object: {"method": "...", "params": ...}')
        if body["method"] == SESSION_LIMITS:
            return self._session_limits(), []
        asked = {"method": body["method"], "params": body.get("params", {})}
        address = CallAddress(self.service_id, session_id, call_id)
        return None, [self.records.call(device, asked, address)]

    def command_answer(self, device_id: str, request_id: int, payload: bytes) -> list[Outgoing]:
        """A device's answer to a command. Raises InvalidPayload."""
        text = to_text(read_document(payload, self.context.limits))
        records = self.desk.answered(device_id, request_id, text)
        if not records:
            self.question(self._late_answer(device_id, request_id, text))
        return records

    async def _late_answer(self, device_id: str, request_id: int, text: str) -> None:
        """To a command that the process before this one had sent, or to none."""
        commands = self.context.ports.commands
        if commands is None:
            return
        try:
            found = await commands.unanswered(device_id)
        except Later as error:
            log.warning("an answer of device %s is lost: %s", device_id, error)
            return
        for command in found:
            if request_id_of(command.rpc_id) == request_id and not self.desk.knows(command.rpc_id):
                self.desk.late(device_id, command, text)

    def _session_limits(self) -> str:
        rates = self.context.rates
        messages = f"{round(rates.device_rate)}:1" if rates.device_rate else ""
        return to_text(
            {
                "maxPayloadSize": self.context.limits.payload_bytes,
                "maxInflightMessages": MOST_IN_FLIGHT,
                "rateLimits": {
                    "messages": messages,
                    "telemetryMessages": messages,
                    "telemetryDataPoints": "",
                },
            }
        )

    def _append(self, records: list[Outgoing]) -> None:
        size = weight(sum(len(record.value) for record in records), len(records))
        self._appender.put(records, size, _report)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a device's question failed", exc_info=error)


def _report(error: EdgeferryError | None) -> None:
    if error is not None:
        log.warning("the state of a command is not in the log: %s", error)
