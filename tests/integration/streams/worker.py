"""One worker process of the conformance suite: forwards until it is killed or told to stop."""

import asyncio
import signal
import sys

from tests.integration.streams.harness import Forward, new_writer, runner


async def main(bootstrap: str, site: str, slot: str) -> None:
    writer = new_writer(bootstrap)
    running = runner(bootstrap, Forward(site), writer=writer, slot=slot)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await running.start()
    await stop.wait()
    await running.stop()
    await writer.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
