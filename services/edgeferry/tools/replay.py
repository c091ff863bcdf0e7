"""Dead letters go back to where they came from; which have is kept in the site's data folder.

A letter that fails again makes a new one: only new ones are open.
"""

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import Stop, Undecodable
from edgeferry.core.record import LogReader, LogWriter, Outgoing, PartitionEnds, Record
from edgeferry.files.lock import changing
from edgeferry.files.whole import write_whole
from edgeferry.gateway.records import NODE as GATEWAY
from edgeferry.log.codec import decode_dead_letter
from edgeferry.sync.recovery import names_origin
from edgeferry.tools.records import stored_records

_AT_ONCE = 500
_AT_ONCE_BYTES = 1_000_000


class Address(NamedTuple):
    """Of a dead letter in its topic, written PARTITION:OFFSET."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class Replay(NamedTuple):
    """replayed: addresses of dead letters with the topics that have their records again;
    refused: one line for each of the others; payloads: bad ones of devices, passed over."""

    replayed: list[tuple[Address, str]]
    refused: list[str]
    payloads: Sequence[Address] = ()


async def replay_letters(
    *,
    reader: LogReader,
    writer: LogWriter,
    topic: str,
    addresses: Sequence[Address],
    existing: Container[str],
) -> Replay:
    """``topic``: of the dead letters; ``existing``: all topics. Raises LogUnavailable."""
    done = Replay([], [])
    records: list[Outgoing] = []
    for address in addresses:
        try:
            letter = await read_letter(reader, topic, address)
            records.append(_replayable(letter, writer.max_record_bytes, existing))
        except Stop as error:
            done.refused.append(f"{address}: {error}")
        else:
            done.replayed.append((address, letter.topic))
    await writer.append(records)
    return done


async def replay_all(
    *,
    reader: LogReader,
    writer: LogWriter,
    topic: str,
    wanted: Callable[[Address, DeadLetter], bool],
    existing: Container[str],
    keep: Callable[[Iterable[Address]], None],
) -> Replay:
    """All that stand there now and are wanted, oldest first in each partition. ``keep`` is told
    of those whose records are durable, a part at a time. Raises LogUnavailable."""
    payloads: list[Address] = []
    done = Replay([], [], payloads)
    ends = await reader.ends(topic)
    part: list[tuple[Address, Outgoing]] = []

    async def flush() -> None:
        await writer.append([record for _, record in part])
        keep([address for address, _ in part])
        done.replayed.extend((address, record.topic) for address, record in part)
        part.clear()

    size = 0
    async for record in stored_records(reader, topic, ends):
        address = Address(record.partition, record.offset)
        try:
            letter = letter_of(record)
            if not wanted(address, letter):
                continue
            if is_payload(letter):
                payloads.append(address)
                continue
            part.append((address, _replayable(letter, writer.max_record_bytes, existing)))
        except Stop as error:
            done.refused.append(f"{address}: {error}")
            continue
        size += len(letter.value or b"")
        if len(part) >= _AT_ONCE or size >= _AT_ONCE_BYTES:
            await flush()
            size = 0
    await flush()
    return done


class Replayed:
    """Which letters of a topic were replayed, and when (ms), in a file of the data folder."""

    def __init__(self, data: Path, topic: str, topic_id: str) -> None:
        """topic_id: a topic that was made anew counts from 0. Raises Stop for a file that
        cannot be read."""
        self._path = data / "replayed.json"
        self._topic = topic
        self._topic_id = topic_id
        self._known = self._read()

    def at_ms(self, address: Address) -> int | None:
        return self._known.get(str(address))

    def keep(
        self, addresses: Iterable[Address], now_ms: int, ends: Mapping[int, PartitionEnds]
    ) -> None:
        """``ends``: of the topic; what was trimmed is forgotten. Raises OSError, Stop."""
        new = {str(address): now_ms for address in addresses}
        if not new:
            return
        with changing(self._path):
            known = {
                address: at_ms
                for address, at_ms in {**self._read(), **new}.items()
                if _stands(address, ends)
            }
            document = {"topic": self._topic, "topic_id": self._topic_id, "replayed": known}
            write_whole(self._path, json.dumps(document).encode())
        self._known = known

    def _read(self) -> dict[str, int]:
        try:
            parsed = json.loads(self._path.read_text())
            if (parsed["topic"], parsed["topic_id"]) != (self._topic, self._topic_id):
                return {}
            return {str(address): int(at_ms) for address, at_ms in parsed["replayed"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Stop(
                f"{self._path} does not tell which dead letters were replayed ({error}): remove "
                "it, and all count as open"
            ) from error


def _stands(address: str, ends: Mapping[int, PartitionEnds]) -> bool:
    partition, _, offset = address.partition(":")
    found = ends.get(int(partition))
    return found is not None and int(offset) >= found.start


async def read_letter(reader: LogReader, topic: str, address: Address) -> DeadLetter:
    """Raises Stop when there is none, LogUnavailable."""
    ends = (await reader.ends(topic)).get(address.partition)
    if ends is not None and ends.start <= address.offset < ends.end:
        records = await reader.read(topic, address.partition, address.offset, 1, 2_000)
        if records and records[0].offset == address.offset:
            return letter_of(records[0])
    raise Stop(f"there is no dead letter {address} in {topic}: `edgeferry dead-letters list`")


def letter_of(record: Record) -> DeadLetter:
    """Raises Stop."""
    try:
        return decode_dead_letter(record.value)
    except Undecodable as error:
        raise Stop(
            f"{record.topic} {record.partition}:{record.offset} is no dead letter: {error}"
        ) from error


def is_payload(letter: DeadLetter) -> bool:
    """Whether it is of the gateway: it holds what a device sent, and an MQTT topic."""
    return letter.node == GATEWAY and letter.partition < 0


def _replayable(letter: DeadLetter, limit: int, existing: Container[str]) -> Outgoing:
    """The record as it was, but without the link's headers: by them it would be dropped as
    a repeat of itself. Nor may a sender's own, which stand before, take their place.

    Raises Stop when there is no record to append, or none that the log takes (``limit``
    bytes)."""
    if is_payload(letter):
        raise Stop(
            f"not a record but a bad payload that a device sent to {letter.topic}; "
            "`edgeferry dead-letters show` gives it: publish it again, corrected"
        )
    if letter.value is None:
        raise Stop(f"nothing to replay, it holds no value ({letter.error_text})")
    if len(letter.value) > limit:
        raise Stop(
            f"its value of {len(letter.value)} bytes is above the log's limit of {limit} bytes: "
            "its sender has to make smaller ones"
        )
    if letter.topic not in existing:
        raise Stop(f"its topic {letter.topic} does not exist any more: its node left the chain")
    headers = letter.headers
    while names_origin(headers):
        headers = headers[:-3]
    return Outgoing(letter.topic, letter.key, letter.value, headers)
