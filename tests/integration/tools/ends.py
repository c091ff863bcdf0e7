"""Both ends of a link over HTTP and MQTT, and the command line, as their users meet them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from edgeferry.core.clock import SystemClock
from edgeferry.tools.ready import Ready
from edgeferry.tools.supervise import ChildProcess, ChildSpec, die_with_parent, last_lines

_DEADLINE = 90.0
_POLL = 0.02


async def until(condition: Callable[[], Any], seconds: float = _DEADLINE) -> Any:
    """What it gave when it held. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(_POLL)
    return found


async def edgeferry(
    *arguments: str, said: str = "", environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """A command that ends by itself; ``said``: its standard input."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "edgeferry", *arguments],
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=_DEADLINE,
        env={**os.environ, **(environment or {})},
    )


@asynccontextmanager
async def running(
    log: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A command that tells with ``--json`` when it is ready: its process and what it told."""
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "edgeferry", *arguments, "--json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=out,
            env={**os.environ, **(environment or {})},
            preexec_fn=die_with_parent(os.getpid()),
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_DEADLINE):
            line = await process.stdout.readline()
        assert line, last_lines(log)
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_DEADLINE):
            await process.wait()


class Ends:
    """A device at the Edge, a reader at both ends. edge, cloud: host:port of their HTTP."""

    def __init__(
        self, edge: str, cloud: str, device: Mapping[str, str], logins: Mapping[str, Path]
    ) -> None:
        """``logins``: file with the administrator's password, by site."""
        self._at = {"edge": f"http://{edge}", "cloud": f"http://{cloud}"}
        self.device = device
        self._logins = logins

    @staticmethod
    def of_up(ready: Mapping[str, Any]) -> "Ends":
        password = Path(ready["admin"]["password_file"])
        return Ends(
            ready["edge"]["http"],
            ready["cloud"]["http"],
            ready["devices"][0],
            {"edge": password, "cloud": password},
        )

    async def publish(self, client: httpx.AsyncClient, payload: object, site: str = "edge") -> None:
        """Until it is taken: the site may just be restarting."""
        url = f"{self._at[site]}/api/v1/{self.device['token']}/telemetry"
        async with asyncio.timeout(_DEADLINE):
            while True:
                try:
                    answer = await client.post(url, json=payload)
                    if answer.status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(_POLL)

    async def read(
        self, client: httpx.AsyncClient, key: str, site: str = "cloud", **range_: int
    ) -> Any:
        password = self._logins[site].read_text().strip()
        login = {"username": "tenant@edgeferry.local", "password": password}
        token = await client.post(f"{self._at[site]}/api/auth/login", json=login)
        answer = await client.get(
            f"{self._at[site]}/api/plugins/telemetry/DEVICE/{self.device['id']}/values/timeseries",
            params={"keys": key, **range_},
            headers={"X-Authorization": f"Bearer {token.json()['token']}"},
        )
        assert answer.status_code == 200, answer.text
        return answer.json().get(key)

    async def until_read(
        self, client: httpx.AsyncClient, key: str, ts: int, value: str, site: str = "cloud"
    ) -> None:
        async with asyncio.timeout(_DEADLINE):
            while True:
                try:
                    found = await self.read(client, key, site, startTs=ts, endTs=ts + 1)
                except httpx.TransportError:
                    found = None
                if found:
                    assert found == [{"ts": ts, "value": value}]
                    return
                await asyncio.sleep(_POLL)


@asynccontextmanager
async def started_part(
    at: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Ready]:
    """``site`` or a part of one, once it is ready; ``at``: where its files begin."""
    file, log = at.with_suffix(".ready"), at.with_suffix(".log")
    part = ChildProcess(
        ChildSpec(
            name=at.name,
            argv=(sys.executable, "-m", "edgeferry", *arguments, "--ready-file", str(file)),
            log=log,
            ready_file=file,
            env=environment or {},
            start_timeout=_DEADLINE,
        ),
        SystemClock(),
    )
    await part.start()
    try:
        told = json.loads(file.read_bytes())
        del told["ready"]
        yield Ready(**{**told, "services": tuple(told["services"])})
    finally:
        await part.stop()
