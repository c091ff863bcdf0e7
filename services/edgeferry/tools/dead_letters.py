"""``edgeferry dead-letters``: what could not be processed, whole; to look at and to replay."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import click

from edgeferry.core.clock import SystemClock
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import Stop, Undecodable
from edgeferry.core.record import PartitionEnds, Record
from edgeferry.log.codec import decode_dead_letter
from edgeferry.log.port import Log
from edgeferry.log.topics import site_topic
from edgeferry.runtime.settings import Settings, load_settings
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
from edgeferry.tools.replay import (
    Address,
    Replay,
    Replayed,
    is_payload,
    read_letter,
    replay_all,
    replay_letters,
)

_ADDRESS = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


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
@click.option("--open", "open_only", is_flag=True, help="Only those that were not replayed.")
@json_option
@asynchronous
async def list_letters(
    settings_file: Path, node: str | None, count: int, open_only: bool, as_json: bool
) -> None:
    """The newest dead letters of the site."""
    settings = load_settings(settings_file)
    topic = _dead_topic(settings)
    async with opened_log(settings) as log:
        ends = await log.reader.ends(topic)
        recent = {p: PartitionEnds(max(e.start, e.end - count), e.end) for p, e in ends.items()}
        marks = await _marks(settings, log)
        rows = [
            _Row.of(record, marks) async for record in stored_records(log.reader, topic, recent)
        ]
    letters = newest([row for row in rows if not (open_only and row.replayed_ms)], node, count)
    if as_json:
        print_json([row.summary() for row in letters])
        return
    for row in letters:
        for line in row.lines():
            click.echo(one_line(line))
    if letters:
        click.echo("\n`edgeferry dead-letters show ADDRESS` tells what one holds and what to do.")
    else:
        click.echo(f"{settings.site} has no {'open ' if open_only else ''}dead letters")


class _Row(NamedTuple):
    """letter: None for a record that is none; ``wrong`` says why. replayed_ms: None: never."""

    address: Address
    at_ms: int
    letter: DeadLetter | None
    wrong: str
    replayed_ms: int | None

    @classmethod
    def of(cls, record: Record, marks: Replayed) -> "_Row":
        address = Address(record.partition, record.offset)
        replayed_ms = marks.at_ms(address)
        try:
            letter = decode_dead_letter(record.value)
        except Undecodable as error:
            return cls(address, record.timestamp, None, str(error), replayed_ms)
        return cls(address, letter.last_failure, letter, "", replayed_ms)

    def summary(self) -> dict[str, object]:
        if self.letter is None:
            return {"address": str(self.address), "undecodable": self.wrong}
        return {**_summary(self.address, self.letter), "replayed_at": self.replayed_ms}

    def lines(self) -> tuple[str, str]:
        head = f"{self.address}  {moment(self.at_ms)}"
        if self.letter is None:
            return f"{head}  undecodable: no dead letter", f"    {self.wrong}"
        what = content(_held(self.letter))
        told = f"{_what(self.letter, what)} of {what.who}, at {_where(self.letter)}"
        mark = "" if self.replayed_ms is None else f"replayed {moment(self.replayed_ms)}; "
        return f"{head}  {told}", f"    {mark}{_why(self.letter)}"


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
        letter = await read_letter(log.reader, _dead_topic(settings), address)
        replayed_ms = (await _marks(settings, log)).at_ms(address)
    document = {
        **_summary(address, letter),
        "replayed_at": replayed_ms,
        "holds": readable(_held(letter)),
    }
    if is_payload(letter):
        document["payload"] = text(letter.value)
    if as_json:
        print_json(document)
    else:
        print_fields(_fields(address, letter))
        if replayed_ms is not None:
            print_fields([("replayed", moment(replayed_ms))])


@dead_letters.command()
@click.argument("addresses", type=AddressType(), nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that were not replayed yet.")
@click.option("--topic", help="Of --all only those that came from this topic.")
@click.option("--node", help="Of --all only those of this node.")
@settings_option("cloud")
@json_option
@asynchronous
async def replay(
    addresses: tuple[Address, ...],
    every: bool,
    topic: str | None,
    node: str | None,
    settings_file: Path,
    as_json: bool,
) -> None:
    """Append the records that dead letters hold to the topics that they came from, with
    their keys and headers. The dead letters stay until their time is over, marked in the list.

    What cannot be replayed is told at the end (exit code 1); the others are replayed."""
    if every == bool(addresses):
        raise click.UsageError("name addresses such as 0:17, or give --all")
    if (topic or node) and not every:
        raise click.UsageError("--topic and --node choose of --all")
    settings = load_settings(settings_file)
    letters = _dead_topic(settings)
    async with opened_log(settings) as log:
        marks = await _marks(settings, log)
        ends = await log.reader.ends(letters)
        keep = _keeping(marks, ends)
        existing = await log.topics.partitions()
        if every:

            def wanted(address: Address, letter: DeadLetter) -> bool:
                of_node = node is None or letter.node == node
                of_topic = topic is None or letter.topic == topic
                return of_node and of_topic and marks.at_ms(address) is None

            done = await replay_all(
                reader=log.reader,
                writer=log.writer,
                topic=letters,
                wanted=wanted,
                existing=existing,
                keep=keep,
            )
        else:
            done = await replay_letters(
                reader=log.reader,
                writer=log.writer,
                topic=letters,
                addresses=list(dict.fromkeys(addresses)),
                existing=existing,
            )
            keep([address for address, _ in done.replayed])
    _tell_replay(done, every, as_json)


def _keeping(
    marks: Replayed, ends: Mapping[int, PartitionEnds]
) -> Callable[[Iterable[Address]], None]:
    clock = SystemClock()
    return lambda addresses: marks.keep(addresses, clock.now_ms(), ends)


def _tell_replay(done: Replay, every: bool, as_json: bool) -> None:
    """Raises Stop for what was refused."""
    rows = [{"address": str(address), "replayed_to": to} for address, to in done.replayed]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['address']} -> {row['replayed_to']}")
        if every:
            click.echo(f"{len(rows)} replayed")
    if done.payloads:
        click.echo(
            f"{len(done.payloads)} bad payloads of devices were passed over: their senders have "
            "to send them again, corrected",
            err=True,
        )
    if done.refused:
        raise Stop("\n".join(done.refused))


async def _marks(settings: Settings, log: Log) -> Replayed:
    topic = _dead_topic(settings)
    return Replayed(settings.data, topic, await log.topics.topic_id(topic))


def _dead_topic(settings: Settings) -> str:
    return site_topic(settings.site, "dead-letters")


def _held(letter: DeadLetter) -> Record:
    return Record(
        letter.topic, letter.partition, letter.offset, letter.first_failure,
        letter.key, letter.value, letter.headers,
    )  # fmt: skip


def _what(letter: DeadLetter, held: Content) -> str:
    return f"payload for {letter.topic}" if is_payload(letter) else held.what


def _where(letter: DeadLetter) -> str:
    node = f"{letter.chain}.{letter.node}" if letter.chain else letter.node
    if is_payload(letter):
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
        ("body", text(letter.value) if is_payload(letter) else held.body),
        ("next", _next(address, letter)),
    ]


def _headers(letter: DeadLetter) -> Iterable[tuple[str, str | None]]:
    return header_texts(letter.headers).items()


def _next(address: Address, letter: DeadLetter) -> str:
    if is_payload(letter):
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
