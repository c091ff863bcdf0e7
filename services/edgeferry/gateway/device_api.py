"""What devices may ask and answer, the same over MQTT and HTTP."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

from edgeferry.core.errors import EdgeferryError, InvalidPayload, Later
from edgeferry.core.record import Outgoing
from edgeferry.gateway.appender import Appender
from edgeferry.gateway.attribute_requests import Wanted, read
from edgeferry.gateway.command_queue import CommandQueue
from edgeferry.gateway.commands import CommandDesk
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.device_sessions import DeviceSessions
from edgeferry.gateway.devices import Device
from edgeferry.gateway.late_answers import LateAnswers, LookUpPace
from edgeferry.gateway.look_up_brake import BRAKED, LookUpsBraked
from edgeferry.gateway.metrics import Transport
from edgeferry.gateway.not_yet import NotYet
from edgeferry.gateway.payload import read_document, to_text
from edgeferry.gateway.ports import Command
from edgeferry.gateway.presence import Presence
from edgeferry.gateway.provisioning import (
    NO_PROVISIONING,
    PROVISION_FAILURE,
    PROVISION_SUCCESS,
    NotProvisioned,
    Status,
    Wish,
    denied,
    granted,
    wish_of,
)
from edgeferry.gateway.questions import Questions
from edgeferry.gateway.records import CallAddress, Records
from edgeferry.gateway.state_appends import StateAppends

SESSION_LIMITS: Final = "getSessionLimits"
MOST_IN_FLIGHT: Final = 512
"""Publishes of a device without acknowledgement; announced to MQTT 5 clients, too."""

log = logging.getLogger(__name__)


class NoAttributes(Later):
    """This process reads none."""


class DeviceApi:
    """``service_id`` names this gateway process in the calls of its devices."""

    def __init__(self, context: GatewayContext, records: Records, appender: Appender) -> None:
        self.context = context
        self.records = records
        self.service_id = context.ids.next()
        self.presence = Presence(context, records, appender)
        self._states = StateAppends(appender)
        self.desk = CommandDesk(
            clock=context.clock, state=records.command_state, append=self._states.put
        )
        self.sessions = DeviceSessions()
        self._pace = LookUpPace(context.clock.monotonic)
        self._queue, self._late = self._of_kept()
        self._awake: dict[str, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.questions = Questions(self.spawn)

    def check(self) -> None:
        """To be called every second or so."""
        self.desk.check()
        self._states.check()
        self._pace.tidy()

    def wake(self, device_id: str) -> None:
        """The device takes commands now: send those that wait."""
        if device_id in self._awake:
            self._awake[device_id] = True
        else:
            self._awake[device_id] = False
            self.spawn(self._send_pending(device_id))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it beside what comes next."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

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

    async def provision(self, transport: Transport, payload: bytes, address: str) -> str:
        """The answer to a client that asks for credentials, as JSON text. Raises
        InvalidPayload, Later."""
        provisioner = self.context.ports.provisioner
        if provisioner is None:
            log.info("a client at %s asks for credentials: %s", address, NO_PROVISIONING)
            self.context.metrics.rejected(transport, "provision")
            return to_text(denied(Status.NOT_FOUND, NO_PROVISIONING))
        wish = wish_of(read_document(payload, self.context.limits))
        try:
            found = await provisioner.provision(wish, address)
        except NotProvisioned as error:
            self.context.metrics.rejected(transport, "provision")
            if error.device is not None:
                self._tell_of(PROVISION_FAILURE, error.device, wish)
            return to_text(denied(error.status, str(error)))
        self._tell_of(PROVISION_SUCCESS, found.device, wish)
        return to_text(granted(found))

    async def provision_or_error(self, transport: Transport, payload: bytes, address: str) -> str:
        """The same for who can be told in the answer only."""
        try:
            return await self.provision(transport, payload, address)
        except InvalidPayload as error:
            self.context.metrics.rejected(transport, "payload")
            text = str(error)
        except Later as error:
            braked = isinstance(error, LookUpsBraked)
            self.context.metrics.rejected(transport, BRAKED if braked else "store")
            text = f"try again: {error}"
        return to_text(denied(Status.FAILURE, text))

    def _tell_of(self, type_: str, device: Device, wish: Wish) -> None:
        """The root chain, without key, secret and credentials."""
        body = {"deviceName": wish.name or device.name, "gateway": wish.gateway}
        self._states.put([self.records.device_event(device, type_, body)], lambda: None)

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
            await self._pace.turn(device_id)
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

    def _of_kept(self) -> tuple[CommandQueue | None, LateAnswers | None]:
        kept = self.context.ports.commands
        if kept is None:
            return None, None
        queue = CommandQueue(
            desk=self.desk, kept=kept, link_of=self.sessions.commands_wanted, spawn=self.spawn
        )
        return queue, LateAnswers(desk=self.desk, kept=kept, pace=self._pace)

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
        """A device's answer to a command. Raises InvalidPayload, NotYet."""
        text = to_text(read_document(payload, self.context.limits))
        records = self.desk.answered(device_id, request_id, text)
        late = self._late
        if not records and late is not None:
            raise NotYet(lambda: late.records(device_id, request_id, text))
        return records

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

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a device's question failed", exc_info=error)
