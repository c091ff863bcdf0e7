"""``edgeferry dead-letters``: what could not be processed, whole; to look at and to replay."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import Stop, Undecodable
from edgeferry.core.record import LogReader, LogWriter, Outgoing, PartitionEnds, Record
from edgeferry.gateway.records import NODE as GATEWAY
from edgeferry.log.codec import decode_dead_letter
from edgeferry.log.topics import site_topic
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.sync.recovery import origin_of
from edgeferry.tools.opened import opened_log
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table
from edgeferry.tools.records import header_texts, readable, stored_records, text


class Address(NamedTuple):
    """Of a dead letter in its topic, written PARTITION:OFFSET."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class AddressType(click.ParamType):
    name = "PARTITION:OFFSET"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Address:
        if isinstance(value, Address):
            return value
        partition, _, offset = str(value).partition(":")
        if not (partition.isdigit() and offset.isdigit()):
            self.fail(f"{value!r} is not PARTITION:OFFSET, such as 0:17", param)
        return Address(int(partition), int(offset))


@click.group()
def dead_letters() -> None:
    """What could not be processed: list, show, replay."""


@dead_letters.command("list")
@settings_option("cloud")
@click.option("--node", help="Only those of this node.")
@click.option("-n", "count", default=100, show_default=True, help="The newest so many.")
@json_option
@asynchronous
async def list_letters(settings_file: Path, node: str | None, count: int, as_json: bool) -> None:
    """The newest dead letters of the site."""
    settings = load_settings(settings_file)
    topic = _dead_topic(settings)
    async with opened_log(settings) as log:
        ends = await log.reader.ends(topic)
        recent = {p: PartitionEnds(max(e.start, e.end - count), e.end) for p, e in ends.items()}
        letters = [
            (Address(record.partition, record.offset), letter)
            async for record in stored_records(log.reader, topic, recent)
            for letter in [_letter(record)]
            if node is None or letter.node == node
        ]
    letters.sort(key=lambda row: row[1].last_failure)
    rows = [_summary(address, letter) for address, letter in letters[-count:]]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("address", "node", "from", "error", "tries"),
            (
                (row["address"], row["node"], row["record"], row["error"], row["attempts"])
                for row in rows
            ),
        )


@dead_letters.command()
@click.argument("address", type=AddressType())
@settings_option("cloud")
@json_option
@asynchronous
async def show(address: Address, settings_file: Path, as_json: bool) -> None:
    """Everything of one dead letter: its error and the record it holds."""
    settings = load_settings(settings_file)
    async with opened_log(settings) as log:
        letter = await _read(log.reader, _dead_topic(settings), address)
    document = {**_summary(address, letter), "holds": readable(_held(letter))}
    if _is_payload(letter):
        document["payload"] = text(letter.value)
    if as_json:
        print_json(document)
    else:
        print_table(("", ""), document.items())


@dead_letters.command()
@click.argument("addresses", type=AddressType(), nargs=-1, required=True)
@settings_option("cloud")
@json_option
@asynchronous
async def replay(addresses: tuple[Address, ...], settings_file: Path, as_json: bool) -> None:
    """Append the records that dead letters hold to the topics that they came from, with
    their keys and headers. The dead letters stay until their time is over.

    What cannot be replayed is told at the end (exit code 1); the others are replayed."""
    settings = load_settings(settings_file)
    async with opened_log(settings) as log:
        done = await replay_letters(
            reader=log.reader,
            writer=log.writer,
            topic=_dead_topic(settings),
            addresses=addresses,
        )
    rows = [{"address": str(address), "replayed_to": to} for address, to in done.replayed]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['address']} -> {row['replayed_to']}")
    if done.refused:
        raise Stop("\n".join(done.refused))


class Replay(NamedTuple):
    """replayed: addresses of dead letters with the topics that have their records again;
    refused: one line for each of the others."""

    replayed: list[tuple[Address, str]]
    refused: list[str]


async def replay_letters(
    *, reader: LogReader, writer: LogWriter, topic: str, addresses: Sequence[Address]
) -> Replay:
    """``topic``: of the dead letters. Raises LogUnavailable."""
    done = Replay([], [])
    records: list[Outgoing] = []
    for address in addresses:
        try:
            letter = await _read(reader, topic, address)
            records.append(_replayable(letter, writer.max_record_bytes))
        except Stop as error:
            done.refused.append(f"{address}: {error}")
        else:
            done.replayed.append((address, letter.topic))
    await writer.append(records)
    return done


def _replayable(letter: DeadLetter, limit: int) -> Outgoing:
    """The record as it was, but without the link's headers: by them it would be dropped as
    a repeat of itself. Nor may a sender's own, which stand before, take their place.

    Raises Stop when there is no record to append, or none that the log takes (``limit``
    bytes)."""
    if _is_payload(letter):
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
    headers = letter.headers
    while origin_of(headers) is not None:
        headers = headers[:-3]
    return Outgoing(letter.topic, letter.key, letter.value, headers)


def _is_payload(letter: DeadLetter) -> bool:
    """Whether it is of the gateway: it holds what a device sent, and an MQTT topic."""
    return letter.node == GATEWAY and letter.partition < 0


def _dead_topic(settings: Settings) -> str:
    return site_topic(settings.site, "dead-letters")


async def _read(reader: LogReader, topic: str, address: Address) -> DeadLetter:
    """Raises Stop when there is none, LogUnavailable."""
    ends = (await reader.ends(topic)).get(address.partition)
    if ends is not None and ends.start <= address.offset < ends.end:
        records = await reader.read(topic, address.partition, address.offset, 1, 2_000)
        if records and records[0].offset == address.offset:
            return _letter(records[0])
    raise Stop(f"there is no dead letter {address} in {topic}: `edgeferry dead-letters list`")


def _letter(record: Record) -> DeadLetter:
    try:
        return decode_dead_letter(record.value)
    except Undecodable as error:
        raise Stop(
            f"{record.topic} {record.partition}:{record.offset} is no dead letter: {error}"
        ) from error


def _held(letter: DeadLetter) -> Record:
    return Record(
        letter.topic, letter.partition, letter.offset, letter.first_failure,
        letter.key, letter.value, letter.headers,
    )  # fmt: skip


def _summary(address: Address, letter: DeadLetter) -> dict[str, object]:
    return {
        "address": str(address),
        "site": letter.site,
        "chain": letter.chain,
        "node": letter.node,
        "record": f"{letter.topic} {letter.partition}:{letter.offset}",
        "key": text(letter.key),
        "headers": header_texts(letter.headers),
        "error": f"{letter.error_class}: {letter.error_text}",
        "first_failure": letter.first_failure,
        "last_failure": letter.last_failure,
        "attempts": letter.attempts,
    }
