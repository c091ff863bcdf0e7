"""An installation under test: ``edgeferry up`` in a folder of its own, started and stopped."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from edgeferry.core.errors import Stop
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.tools.options import settings_path
from edgeferry.tools.supervise import die_with_parent, last_lines
from edgeferry.tools.up import RUNNING_FILE

EMBEDDED, LOCAL = "embedded", "local"
_START_SECONDS = 300.0
_STOP_SECONDS = 90.0
_KEEP_ALL = {"EDGEFERRY_LOG__KEEP_SECONDS": "604800"}
"""What was read stays, so that it can be examined afterwards."""


class Shape(NamedTuple):
    """What an installation stands on; None where ``up`` chooses."""

    servers: str = LOCAL
    edge_log: str | None = None
    edge_store: str | None = None
    cloud_log: str | None = None
    cloud_store: str | None = None

    def options(self) -> list[str]:
        """For ``up``: the fields are named as its options are."""
        given = self._asdict()
        return [f"--{name.replace('_', '-')}={given[name]}" for name in given if given[name]]


ON_SERVERS = Shape()


@dataclass(frozen=True, slots=True)
class Installation:
    data: Path
    ready: Mapping[str, Any]
    shape: Shape = ON_SERVERS

    @property
    def cloud_settings(self) -> Path:
        return settings_path(self.data, "cloud")

    def settings(self, site: str) -> Settings:
        """``site``: edge or cloud."""
        return load_settings(settings_path(self.data, site))

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

    def stands_on(self) -> dict[str, object]:
        """For a benchmark's line: what its figures belong to."""
        edge, cloud = self.settings("edge"), self.settings("cloud")
        return {
            "servers": self.shape.servers,
            "edge_log": edge.log.kind,
            "edge_store": edge.store.kind,
            "cloud_log": cloud.log.kind,
            "cloud_store": cloud.store.kind,
        }


@contextlib.asynccontextmanager
async def running(
    data: Path,
    devices: int,
    options: Sequence[str],
    *,
    shape: Shape = ON_SERVERS,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Installation]:
    """Start it on free ports; stop it at the end. ``options``: more of ``up``.

    Raises Stop with what it said."""
    said = data / "up.log"
    data.mkdir(parents=True, exist_ok=True)
    ports = [
        f"--{name}=0" for name in ("cloud-http", "cloud-mqtt", "sync", "edge-http", "edge-mqtt")
    ]
    with said.open("ab") as log:
        up = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edgeferry", "up", "--json", *shape.options()),
            *("--data", str(data), "--devices", str(devices), *ports, *options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **_KEEP_ALL, **(environment or {})},
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
        yield Installation(data, orjson.loads(line), shape)
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
