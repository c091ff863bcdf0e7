"""A flood of connections on a real process that may open few files."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeferry.tools.supervise import die_with_parent, last_lines
from tests.unit.gateway.client_packets import RawClient

pytestmark = pytest.mark.asyncio
OPEN_FILES = 400
DEADLINE_SECONDS = 90.0


@asynccontextmanager
async def cloud(folder: Path) -> AsyncIterator[dict[str, Any]]:
    log = folder / "cloud.err"
    words = ("cloud", "--data", str(folder), "--http=0", "--mqtt=0", "--sync=0", "--json")
    limited = f'ulimit -n {OPEN_FILES}; exec "$@"'
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", limited, "bash", sys.executable, "-m", "edgeferry", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=out,
            preexec_fn=die_with_parent(os.getpid()),
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            line = await process.stdout.readline()
        assert line, last_lines(log)
        yield json.loads(line)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await process.wait()


async def test_a_flood_of_silent_connections_takes_neither_health_nor_devices(
    tmp_path: Path,
) -> None:
    async with cloud(tmp_path) as ready:
        silent: list[asyncio.StreamWriter] = []

        async def flood(at: str, count: int) -> None:
            host, _, port = at.rpartition(":")
            for _ in range(count):
                made = await asyncio.open_connection(host, int(port), local_addr=("127.0.0.2", 0))
                silent.append(made[1])

        try:
            for _ in range(5):
                await flood(ready["mqtt"], 90)
                await flood(ready["http"], 60)
                async with httpx.AsyncClient(timeout=DEADLINE_SECONDS) as http:
                    answer = await http.get(f"http://{ready['http']}/healthz")
                    assert answer.status_code == 200
                    metrics = (await http.get(f"http://{ready['http']}/metrics")).text
                device = await RawClient(ready["mqtt"]).open()
                assert (await device.connect("no such token", "c")).codes == b"\5"
                await device.close()
        finally:
            for writer in silent:
                writer.transport.abort()
    assert 'edgeferry_gateway_rejected_total{reason="connections",transport="mqtt"}' in metrics
    assert "edgeferry_http_turned_away_total" in metrics
    lines = (tmp_path / "cloud.err").read_text().splitlines()
    told = [line for line in lines if "turned away" in line]
    assert 2 <= len(told) < 10
    assert not [line for line in lines if "Too many open files" in line]
