"""``edgeferry tail``: a topic's records, decoded, one line each."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import click

from edgeferry.core.errors import Stop
from edgeferry.core.record import LogReader, PartitionEnds, Record
from edgeferry.runtime.settings import load_settings
from edgeferry.tools.opened import opened_log
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, moment, one_line, print_json
from edgeferry.tools.records import content, readable, stored_records

_READ_BYTES = 1_000_000
_WAIT_MS = 500


@click.command()
@click.argument("topic")
@settings_option("cloud")
@click.option("--from-beginning", is_flag=True, help="Also what the topic holds already.")
@click.option("-n", "count", type=click.IntRange(min=1), help="End after so many records.")
@json_option
@asynchronous
async def tail(
    topic: str, settings_file: Path, from_beginning: bool, count: int | None, as_json: bool
) -> None:
    """Print TOPIC's records (such as cloud.root), new ones as they come: time, place, device
    or other entity, type, body.

    With --json all that is in them: one array with -n, else one JSON object a line."""
    found: list[object] = []
    one_document = as_json and count is not None

    def show(record: Record) -> None:
        if one_document:
            found.append(readable(record))
        elif as_json:
            print_json(readable(record))
        else:
            click.echo(_line(record))

    async with opened_log(load_settings(settings_file)) as log:
        if topic not in await log.topics.partitions():
            raise Stop(f"there is no topic {topic}: `edgeferry topics list` shows them")
        await _follow(log.reader, topic, from_beginning, count, show)
    if one_document:
        print_json(found)


def _line(record: Record) -> str:
    who, what, body = content(record)
    at = f"{record.topic}-{record.partition}:{record.offset}"
    return one_line("  ".join((moment(record.timestamp), at, who, what, body)))


async def _follow(
    reader: LogReader,
    topic: str,
    from_beginning: bool,
    count: int | None,
    show: Callable[[Record], None],
) -> None:
    """What is there first, in order per partition, then each partition as it grows."""
    left = count if count is not None else -1
    ends = await reader.ends(topic)
    if from_beginning:
        async for record in stored_records(reader, topic, ends):
            show(record)
            left -= 1
            if not left:
                return
    arrived: asyncio.Queue[Record] = asyncio.Queue(maxsize=1000)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_read_on(reader, topic, partition, at, arrived))
            for partition, at in ends.items()
        ]
        while left:
            show(await arrived.get())
            left -= 1
        for task in tasks:
            task.cancel()


async def _read_on(
    reader: LogReader,
    topic: str,
    partition: int,
    at: PartitionEnds,
    arrived: asyncio.Queue[Record],
) -> None:
    offset = at.end
    while True:
        for record in await reader.read(topic, partition, offset, _READ_BYTES, _WAIT_MS):
            await arrived.put(record)
            offset = record.offset + 1
