"""A site's process on the SQLite log: numbers records into the first topic and runs a chain.

Arguments: folder, hops. It goes on from where the log stands, whatever happened to the one
before it, until it is killed or told to stop (SIGTERM: it loads no more and drains).
"""

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from tests.integration.streams.beds import sqlite_bed
from tests.integration.streams.harness import FIRST, chain

CHUNK = 200
PAUSE_SECONDS = 0.02


async def main(folder: str, hops: str) -> None:
    bed = sqlite_bed(Path(folder))
    processors = chain(bed.site, int(hops))
    await bed.start(between=[processor.source for processor in processors[1:]])
    running = bed.runner(*processors)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await running.start()
    while not stop.is_set():
        # an append is whole or not at all, so ids have no gap
        count = await bed.count(FIRST)
        await bed.load(count, count + CHUNK)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PAUSE_SECONDS)
    await bed.drained(*(processor.source for processor in processors), seconds=120)
    await running.stop()
    await bed.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
