"""A worker process on Kafka: forwards until it is killed or told to stop.

Arguments: bootstrap, site, slot, and the session's seconds where they differ.
"""

import asyncio
import signal
import sys

from edgeferry.streams import kafka_transport
from tests.integration.streams.beds import kafka_bed
from tests.integration.streams.harness import Forward


async def main(bootstrap: str, site: str, slot: str, session_seconds: str = "") -> None:
    if session_seconds:
        kafka_transport.SESSION_SECONDS = float(session_seconds)
    bed = kafka_bed(bootstrap, site, slot=slot)
    await bed.log.start()
    running = bed.runner(Forward(site))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await running.start()
    await stop.wait()
    await running.stop()
    await bed.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
