"""What comes down to devices: the topic ``device-commands``, handed to the sessions here.

Messages are those of rule chains, keyed by device. ATTRIBUTES_UPDATED: data ``{k: v}``.
ATTRIBUTES_DELETED: data ``{"attributes": [..]}``. RPC_CALL_FROM_SERVER_TO_DEVICE: data
``{"method", "params"}``, metadata requestUUID, expirationTime (ms, "" or 0 for never) and
oneway ("true"). TO_SERVER_RPC_RESPONSE: data is the answer, metadata serviceId, sessionId and
requestId say whose call it answers. ENTITY_UPDATED: look the device up again. A process that
has no session of the device lets it pass: what must not be lost is kept in the store and asked
for when the device is there.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from edgeferry.core.errors import EdgeferryError, Later, OffsetOutOfRange, Undecodable
from edgeferry.core.message import RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.record import LogReader, Record
from edgeferry.gateway.device_sessions import DeviceSessions
from edgeferry.gateway.ports import Command, DeviceDirectory
from edgeferry.log.codec import decode_message
from edgeferry.log.topics import site_topic
from edgeferry.runtime.background import BackgroundService

_MAX_BYTES: Final = 1_000_000
_WAIT_MS: Final = 1_000
_RETRY_SECONDS: Final = 1.0

PushCommand = Callable[[str, Command], None]

log = logging.getLogger(__name__)


class CommandFeed(BackgroundService):
    """A Service: all partitions, from their ends at the start, without a group."""

    name = "command-feed"

    def __init__(
        self,
        *,
        site: str,
        service_id: str,
        reader: LogReader,
        sessions: DeviceSessions,
        push_command: PushCommand,
        devices: DeviceDirectory,
    ) -> None:
        self._topic = site_topic(site, "device-commands")
        self._service_id = service_id
        self._reader = reader
        self._sessions = sessions
        self._push_command = push_command
        self._devices = devices
        super().__init__()

    async def run(self) -> None:
        ends = await self._ends()
        self._devices.forget_all()  # what changed before now was told to nobody here
        async with asyncio.TaskGroup() as group:
            for partition, end in ends.items():
                group.create_task(self._follow(partition, end))

    async def _ends(self) -> Mapping[int, int]:
        while True:
            try:
                return {p: end for p, (_, end) in (await self._reader.ends(self._topic)).items()}
            except Later as error:
                log.warning("commands to devices are not read yet: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, partition: int, offset: int) -> None:
        while True:
            try:
                records = await self._reader.read(
                    self._topic, partition, offset, _MAX_BYTES, _WAIT_MS
                )
            except OffsetOutOfRange:
                self._devices.forget_all()
                offset = (await self._ends())[partition]
                continue
            except Later as error:
                log.warning("commands to devices are read later: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for record in records:
                self._take(record)
                offset = record.offset + 1

    def _take(self, record: Record) -> None:
        where = f"{record.topic}-{record.partition} at {record.offset}"
        try:
            message = decode_message(record.value)
            if message.type == MessageType.ENTITY_UPDATED:
                self._devices.forget(message.entity_id)
            else:
                self._hand_over(message)
        except (Undecodable, ValueError, KeyError, TypeError) as error:
            log.error("%s is no command to a device: %r", where, error)
        except EdgeferryError as error:
            log.error("%s reached no device: %s", where, error)

    def _hand_over(self, message: RuleMessage) -> None:
        """Raises ValueError, KeyError, TypeError for a message that is not as described above."""
        device_id, sessions = message.entity_id, self._sessions
        match message.type:
            case MessageType.ATTRIBUTES_UPDATED:
                sessions.push_attributes(device_id, dict(message.json), ())
            case MessageType.ATTRIBUTES_DELETED:
                sessions.push_attributes(device_id, {}, list(message.json["attributes"]))
            case MessageType.RPC_CALL_FROM_SERVER_TO_DEVICE:
                self._push_command(device_id, command_of(message))
            case MessageType.TO_SERVER_RPC_RESPONSE:
                metadata = message.metadata
                if metadata["serviceId"] == self._service_id:
                    sessions.push_answer(
                        metadata["sessionId"], int(metadata["requestId"]), message.data
                    )
            case _:
                log.info("a message of type %s is nothing for a device", message.type)


def command_of(message: RuleMessage) -> Command:
    """Raises ValueError, KeyError, TypeError."""
    metadata, body = message.metadata, message.json
    return Command(
        rpc_id=metadata["requestUUID"],
        method=str(body["method"]),
        params=orjson.dumps(body.get("params")).decode(),
        expires_ms=int(metadata.get("expirationTime") or 0),
        oneway=metadata.get("oneway") == "true",
    )
