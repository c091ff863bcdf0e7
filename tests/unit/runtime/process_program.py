"""A process of one service, for tests that send signals; the argument says how it behaves."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeferry.core.errors import InvalidSettings, LogUnavailable
from edgeferry.runtime.health import HealthBoard
from edgeferry.runtime.process import run_process
from edgeferry.runtime.service import Health, Service


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


class Behaving:
    name = "service"

    def __init__(self, how: str) -> None:
        self._how = how

    async def start(self) -> None:
        if self._how == "refuses":
            raise LogUnavailable("the reason")
        if self._how == "never-starts":
            say("starting")
            await asyncio.Event().wait()

    async def stop(self) -> None:
        if self._how == "never-stops":
            say("stopping")
            await asyncio.Event().wait()
        if self._how != "refuses":
            say("stopped")

    def health(self) -> Health:
        return Health(True, True)


async def build() -> Sequence[Service]:
    if sys.argv[1] == "broken-settings":
        raise InvalidSettings("the settings are wrong")
    if sys.argv[1] == "no-folder":
        Path("/dev/null/data").mkdir()
    return [Behaving(sys.argv[1])]


if __name__ == "__main__":
    sys.exit(run_process(build, HealthBoard(), on_ready=lambda: say("ready")))
