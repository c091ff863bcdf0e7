"""A process to be killed: callers that append and a hop that copies, all of it on one log.

Writes a line to stdout for every append that was acknowledged: caller, first and last number."""

import asyncio
import os
import random
import sys
from pathlib import Path

from edgeferry.core.clock import SystemClock
from edgeferry.core.record import Outgoing, Span
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import TopicSettings

CALLERS = 8
TOPICS = ("in", "out", "copy")
HOP = "hop"


async def main(folder: Path) -> None:
    log = SqliteLog(folder=folder, clock=SystemClock())
    await log.start()
    await log.ensure([TopicSettings(name, "RuleMessage", 1, None) for name in TOPICS])
    go_on = [0] * CALLERS
    start, end = log.bounds("in", 0)
    while start < end:
        for row in log.fetch("in", 0, start, 10_000, 10_000_000):
            go_on[int(row.key or b"")] = int((row.value or b"").split()[0]) + 1
            start += 1
    os.write(sys.stdout.fileno(), b"ready\n")
    async with asyncio.TaskGroup() as tasks:
        for caller in range(CALLERS):
            tasks.create_task(_append(log, caller, go_on[caller]))
        tasks.create_task(_hop(log))
        tasks.create_task(_trim(log))


async def _append(log: SqliteLog, caller: int, number: int) -> None:
    dice = random.Random()
    while True:
        numbers = range(number, number + dice.randint(1, 30))
        filling = bytes(dice.choice((0, 50, 3_000)))
        await log.append([Outgoing("in", b"%d" % caller, b"%d %b" % (n, filling)) for n in numbers])
        number = numbers[-1] + 1
        os.write(sys.stdout.fileno(), b"%d %d %d\n" % (caller, numbers[0], numbers[-1]))


async def _hop(log: SqliteLog) -> None:
    news = asyncio.Event()
    log.listen(["in"], news)
    while True:
        news.clear()
        at = log.group_offsets(HOP).get(("in", 0), 0)
        rows = log.fetch("in", 0, at, 500, 1_000_000)
        if not rows:
            await news.wait()
            continue
        outputs = [Outgoing(name, row.key, row.value or b"") for row in rows for name in TOPICS[1:]]
        await log.append_and_commit(outputs, HOP, [Span("in", 0, at, at + len(rows))])


async def _trim(log: SqliteLog) -> None:
    """Of one output, so that kills also meet deletes."""
    while True:
        await log.drop("copy", {0: log.bounds("copy", 0).end - 100})
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
