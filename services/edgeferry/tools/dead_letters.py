"""``edgeferry dead-letters``: what could not be processed, whole; to look at and to replay."""

import re
from collections.abc import Container, Iterable, Sequence
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
from edgeferry.sync.recovery import names_origin
from edgeferry.tools.opened import opened_log
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import (
    asynchronous,
    json_option,
    moment,
    one_line,
    print_fields,
    print_json,
    shortened,
)
from edgeferry.tools.records import (
    Content,
    content,
    header_texts,
    readable,
    stored_records,
    text,
)

_ADDRESS = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


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
        found = _ADDRESS.fullmatch(str(value))
        if found is None:
            self.fail(f"{shortened(str(value))!r} is not PARTITION:OFFSET, such as 0:17", param)
        return Address(int(found[1]), int(found[2]))


@click.group()
def dead_letters() -> None:
    """What could not be processed: list, show, replay."""


@dead_letters.command("list")
@settings_option("cloud")
@click.option("--node", help="Only those of this node.")
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="The newest so many.",
)
@json_option
@asynchronous
async def list_letters(settings_file: Path, node: str | None, count: int, as_json: bool) -> None:
    """The newest dead letters of the site."""
    settings = load_settings(settings_file)
    topic = _dead_topic(settings)
    async with opened_log(settings) as log:
        ends = await log.reader.ends(topic)
        recent = {p: PartitionEnds(max(e.start, e.end - count), e.end) for p, e in ends.items()}
        rows = [_Row.of(record) async for record in stored_records(log.reader, topic, recent)]
    letters = newest(rows, node, count)
    if as_json:
        print_json([row.summary() for row in letters])
        return
    for row in letters:
        for line in row.lines():
            click.echo(one_line(line))
    if letters:
        click.echo("\n`edgeferry dead-letters show ADDRESS` tells what one holds and what to do.")
    else:
        click.echo(f"{settings.site} has no dead letters")


class _Row(NamedTuple):
    """letter: None for a record that is none; ``wrong`` says why."""

    address: Address
    at_ms: int
    letter: DeadLetter | None
    wrong: str

    @classmethod
    def of(cls, record: Record) -> "_Row":
        address = Address(record.partition, record.offset)
        try:
            letter = decode_dead_letter(record.value)
        except Undecodable as error:
            return cls(address, record.timestamp, None, str(error))
        return cls(address, letter.last_failure, letter, "")

    def summary(self) -> dict[str, object]:
        if self.letter is None:
            return {"address": str(self.address), "undecodable": self.wrong}
        return _summary(self.address, self.letter)

    def lines(self) -> tuple[str, str]:
        head = f"{self.address}  {moment(self.at_ms)}"
        if self.letter is None:
            return f"{head}  undecodable: no dead letter", f"    {self.wrong}"
        what = content(_held(self.letter))
        told = f"{_what(self.letter, what)} of {what.who}, at {_where(self.letter)}"
        return f"{head}  {told}", f"    {_why(self.letter)}"


def newest(rows: Iterable[_Row], node: str | None, count: int) -> list[_Row]:
    """``node``: only dead letters of this one."""
    of_node = [row for row in rows if node is None or (row.letter and row.letter.node == node)]
    return sorted(of_node, key=lambda row: row.at_ms)[-count:]


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
        print_fields(_fields(address, letter))


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
            addresses=list(dict.fromkeys(addresses)),
            existing=await log.topics.partitions(),
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
            letter = await _read(reader, topic, address)
            records.append(_replayable(letter, writer.max_record_bytes, existing))
        except Stop as error:
            done.refused.append(f"{address}: {error}")
        else:
            done.replayed.append((address, letter.topic))
    await writer.append(records)
    return done


def _replayable(letter: DeadLetter, limit: int, existing: Container[str]) -> Outgoing:
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
    if letter.topic not in existing:
        raise Stop(f"its topic {letter.topic} does not exist any more: its node left the chain")
    headers = letter.headers
    while names_origin(headers):
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


def _what(letter: DeadLetter, held: Content) -> str:
    return f"payload for {letter.topic}" if _is_payload(letter) else held.what


def _where(letter: DeadLetter) -> str:
    node = f"{letter.chain}.{letter.node}" if letter.chain else letter.node
    if _is_payload(letter):
        return node
    return f"{node} (record {letter.topic}-{letter.partition}:{letter.offset})"


def _why(letter: DeadLetter) -> str:
    return f"{letter.error_class}: {letter.error_text}"


def _fields(address: Address, letter: DeadLetter) -> list[tuple[str, object]]:
    """The questions that a person has, in their order."""
    held = content(_held(letter))
    tries = "1 try" if letter.attempts == 1 else f"{letter.attempts} tries"
    since = moment(letter.first_failure)
    return [
        ("address", f"{address}, of site {letter.site}"),
        ("what", _what(letter, held)),
        ("from", held.who or "nobody: the record has no key"),
        ("where", _where(letter)),
        ("why", _why(letter)),
        ("when", f"{moment(letter.last_failure)} ({tries}, the first at {since})"),
        ("headers", " ".join(f"{name}={value}" for name, value in _headers(letter))),
        ("body", text(letter.value) if _is_payload(letter) else held.body),
        ("next", _next(address, letter)),
    ]


def _headers(letter: DeadLetter) -> Iterable[tuple[str, str | None]]:
    return header_texts(letter.headers).items()


def _next(address: Address, letter: DeadLetter) -> str:
    if _is_payload(letter):
        return "nothing of it was stored, and its sender was not told: let it send again, corrected"
    return f"when the cause is gone: `edgeferry dead-letters replay {address}`"


def _summary(address: Address, letter: DeadLetter) -> dict[str, object]:
    return {
        "address": str(address),
        "site": letter.site,
        "chain": letter.chain,
        "node": letter.node,
        "record": f"{letter.topic} {letter.partition}:{letter.offset}",
        "key": text(letter.key),
        "headers": header_texts(letter.headers),
        "error": _why(letter),
        "first_failure": letter.first_failure,
        "last_failure": letter.last_failure,
        "attempts": letter.attempts,
    }
