"""``edgeferry up --servers local`` as its users meet it: one command, then devices at the Edge
and REST in the Cloud; kills, stops and a second start."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.record import Outgoing
from edgeferry.log.kafka import KafkaWriter
from edgeferry.rules.loader import CHAINS
from edgeferry.runtime.settings import load_settings
from edgeferry.store import open_store
from edgeferry.tools.bench.installation import Installation, running
from tests.integration.tools import ends
from tests.integration.tools.ends import Ends, until

DEVICES = 2


@asynccontextmanager
async def started(data: Path, *options: str) -> AsyncIterator[tuple[Installation, Ends]]:
    async with running(data, DEVICES, options) as installation:
        yield installation, Ends.of_up(installation.ready)


@pytest.mark.asyncio
async def test_up_carries_a_value_survives_kills_and_starts_again_where_it_was(
    tmp_path: Path,
) -> None:
    now = SystemClock().now_ms()
    async with httpx.AsyncClient() as client:
        async with started(tmp_path / "data") as (first, site):
            await site.publish(client, {"ts": now, "values": {"temperature": 21.5}})
            await site.until_read(client, "temperature", now, "21.5")
            assert await site.read(client, "temperature") == [{"ts": now, "value": "21.5"}]
            assert await site.read(client, "temperature", site="edge") == [
                {"ts": now, "value": "21.5"}
            ]
            await _refuses_a_second_start(first)
            for role in ("edge", "cloud"):
                await _killed_and_back(first, role)
            await site.publish(client, {"ts": now + 1, "values": {"temperature": 22}})
            await site.until_read(client, "temperature", now + 1, "22")
            processes = [psutil.Process(pid) for pid in first.pids().values()]
            assert len(processes) == 4
        assert not any(_runs(process) for process in processes)

        again = started(tmp_path / "data", "--chain-cloud", "cloud_history_only")
        async with again as (second, site):
            assert second.ready["devices"] == first.ready["devices"]
            await site.publish(client, {"ts": now + 2, "values": {"temperature": 23, "new": 1}})
            await site.until_read(client, "new", now + 2, "1")
            await site.until_read(client, "temperature", now + 2, "23")
            assert await _latest(second, site) == {"temperature": now + 1}
            await _leave_a_record(second, "cloud.cloud_root.save")
        await _refuses_another_chain(tmp_path)


async def _leave_a_record(installation: Installation, topic: str) -> None:
    writer = KafkaWriter(installation.ready["kafka"], SystemClock())
    await writer.start()
    try:
        await writer.append([Outgoing(topic, b"key", b"value", [])])
    finally:
        await writer.stop()


async def _refuses_another_chain(tmp_path: Path) -> None:
    text = (CHAINS / "cloud_root.yaml").read_text()
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace("chain: cloud_root", "chain: mine"))
    remembered = (tmp_path / "data" / "up.json").read_text()
    assert '"cloud_history_only"' in remembered
    ended = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "edgeferry", "up", "--servers", "local"),
            *("--data", str(tmp_path / "data"), "--chain-cloud", str(mine)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "1 unread record stands in cloud.cloud_root.save (1), which no node of chain mine" in (
        ended.stderr
    )
    assert "Start once with --chain-cloud cloud_history_only" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "data" / "up.json").read_text() == remembered


async def _refuses_a_second_start(first: Installation) -> None:
    holder = int((first.data / "lock").read_text())
    ended = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "edgeferry", "up"),
            *("--data", str(first.data)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert f"in use by another Edgeferry (process {holder})" in ended.stderr


async def _killed_and_back(installation: Installation, role: str) -> None:
    pid = installation.pids()[role]
    os.kill(pid, signal.SIGKILL)
    await until(lambda: installation.pids().get(role) not in (None, pid))


async def _latest(installation: Installation, site: Ends) -> dict[str, int]:
    """What stands in ts_kv_latest_cf."""
    settings = load_settings(installation.cloud_settings)
    store = open_store(settings=settings.store, data=settings.data, clock=SystemClock())
    await store.start()
    try:
        found = await store.timeseries.latest("DEVICE", site.device["id"])
    finally:
        await store.stop()
    return {entry.key: entry.ts for entry in found}


def _runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.asyncio
async def test_a_chain_that_is_broken_stops_the_start_with_all_its_problems(
    tmp_path: Path,
) -> None:
    chain = tmp_path / "mine.yaml"
    chain.write_text(
        "chain: mine\nversion: 1\ninput: nowhere\nnodes: {a: {type: no_such_type}}\nwires: []\n"
    )
    ended = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "edgeferry", "up", "--servers", "local"),
            *("--data", str(tmp_path / "data"), "--chain-edge", str(chain)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "no_such_type" in ended.stderr
    assert "nowhere" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.asyncio
async def test_a_port_that_is_taken_is_named_with_its_option(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    ended = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "edgeferry", "up", "--servers", "local"),
            *("--data", str(tmp_path / "data"), "--edge-mqtt", str(port)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    server.close()
    await server.wait_closed()
    assert ended.returncode == 1
    assert f"port {port} is taken: stop what listens there or give another --edge-mqtt" in (
        ended.stderr
    )


@pytest.mark.asyncio
@pytest.mark.usefixtures("emptied")
async def test_servers_that_run_already_are_used_by_their_addresses(
    tmp_path: Path, kafka: str, cassandra: str
) -> None:
    now = SystemClock().now_ms()
    data = tmp_path / "data"
    options = (
        *("--kafka", kafka, "--cassandra", cassandra),
        *("--edge-log", "kafka", "--edge-store", "cassandra"),
        *(f"--{name}=0" for name in ("cloud-http", "cloud-mqtt", "sync", "edge-http", "edge-mqtt")),
    )
    log = tmp_path / "up.err"
    async with httpx.AsyncClient() as client:
        async with ends.running(log, "up", "--data", str(data), *options) as (_, ready):
            assert (ready["kafka"], ready["cassandra"]) == (kafka, cassandra)
            assert set(ready["pids"]) == {"edge", "cloud"}
            site = Ends.of_up(ready)
            await site.publish(client, {"ts": now, "values": {"temperature": 21.5}})
            for name in ("cloud", "edge"):
                await site.until_read(client, "temperature", now, "21.5", name)
        async with ends.running(log, "up", "--data", str(data)) as (_, ready):
            assert (ready["kafka"], ready["cassandra"]) == (kafka, cassandra)
            assert await Ends.of_up(ready).read(client, "temperature") == [
                {"ts": now, "value": "21.5"}
            ]
    assert not (data / "edge" / "log.db").exists()
    assert not (data / "kafka").exists()
