"""An installation under test: ``edgeferry up`` in a folder of its own, started and stopped."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from edgeferry.core.errors import Stop
from edgeferry.tools.options import settings_path
from edgeferry.tools.supervise import die_with_parent, last_lines
from edgeferry.tools.up import RUNNING_FILE

_START_SECONDS = 300.0
_STOP_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Installation:
    data: Path
    ready: Mapping[str, Any]

    @property
    def cloud_settings(self) -> Path:
        return settings_path(self.data, "cloud")

    @property
    def devices(self) -> list[tuple[str, str]]:
        """(id, token) of each device."""
        return [(device["id"], device["token"]) for device in self.ready["devices"]]

    def pids(self) -> dict[str, int]:
        """Role -> process id of now; empty while ``up`` writes them anew."""
        try:
            found: dict[str, int] = orjson.loads((self.data / RUNNING_FILE).read_bytes())["pids"]
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        return found


@contextlib.asynccontextmanager
async def running(data: Path, devices: int, options: Sequence[str]) -> AsyncIterator[Installation]:
    """Start it on free ports; stop it at the end. Raises Stop with what it said."""
    said = data / "up.log"
    data.mkdir(parents=True, exist_ok=True)
    ports = [
        f"--{name}=0" for name in ("cloud-http", "cloud-mqtt", "sync", "edge-http", "edge-mqtt")
    ]
    with said.open("ab") as log:
        up = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edgeferry", "up", "--servers", "local", "--json"),
            *("--data", str(data), "--devices", str(devices), *ports, *options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            preexec_fn=die_with_parent(os.getpid()),
            limit=16 * 1024 * 1024,
        )
    try:
        assert up.stdout is not None
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await up.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise Stop(f"the installation did not start; it said:\n{last_lines(said)}")
        yield Installation(data, orjson.loads(line))
    finally:
        await _end(up)


async def _end(up: asyncio.subprocess.Process) -> None:
    if up.returncode is not None:
        return
    up.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await up.wait()
    except TimeoutError:
        up.kill()  # what it started goes with it
        await up.wait()
