"""``edgeferry up`` with no option: an Edge and a Cloud on SQLite, nothing beside them."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import orjson
import psutil
import pytest

from edgeferry.core.clock import SystemClock
from tests.integration.tools.ends import Ends, edgeferry, running, until

pytestmark = pytest.mark.asyncio
ANY_PORTS = tuple(
    f"--{name}=0" for name in ("cloud-http", "cloud-mqtt", "sync", "edge-http", "edge-mqtt")
)


@asynccontextmanager
async def up(
    data: Path, *options: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    log = data.parent / f"{data.name}.err"
    async with running(log, "up", "--data", str(data), *options) as started:
        yield started


async def publish_by_mqtt(ready: Mapping[str, Any], payload: object) -> None:
    host, _, port = ready["edge"]["mqtt"].rpartition(":")
    async with aiomqtt.Client(host, int(port), username=ready["devices"][0]["token"]) as client:
        await client.publish("v1/devices/me/telemetry", orjson.dumps(payload), qos=1)


async def killed_and_back(data: Path, role: str) -> None:
    def pid() -> Any:
        try:
            return orjson.loads((data / "running.json").read_bytes())["pids"].get(role)
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None

    before = pid()
    os.kill(before, signal.SIGKILL)
    await until(lambda: pid() not in (None, before))


async def test_it_carries_a_value_survives_kills_and_goes_on_in_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, now = tmp_path / "data", SystemClock().now_ms()
    began = time.monotonic()
    async with httpx.AsyncClient() as client:
        async with up(data, "--devices", "2", *ANY_PORTS) as (process, first):
            with capsys.disabled():
                sys.stdout.write(f" ready after {time.monotonic() - began:.2f} s ")
            assert (first["kafka"], first["cassandra"]) == (None, None)
            assert set(first["pids"]) == {"edge", "cloud"}
            assert len(first["devices"]) == 2
            ends = Ends.of_up(first)
            await publish_by_mqtt(first, {"ts": now, "values": {"temperature": 21.5}})
            for site in ("cloud", "edge"):
                await ends.until_read(client, "temperature", now, "21.5", site)
            await _is_refused_a_second_time(data, process.pid)
            for number, role in enumerate(("edge", "cloud"), start=1):
                await killed_and_back(data, role)
                await ends.publish(client, {"ts": now + number, "values": {"after": role}})
                await ends.until_read(client, "after", now + number, role)
            sites = [psutil.Process(pid) for pid in _pids(data).values()]
            process.kill()
            await process.wait()
            await until(lambda: not any(_runs(site) for site in sites))

        settings = data / "edge" / "settings.yaml"
        mine = f"{settings.read_text()}# mine\nlog_level: WARNING\n"
        settings.write_text(mine)
        (data / "edge" / "log.db").chmod(0o644)
        async with up(data, "--devices", "2") as (_, again):
            assert settings.read_text() == mine
            _is_its_owners_alone(data, [device["token"] for device in first["devices"]])
            assert {**again, "pids": {}} == {**first, "pids": {}}  # ports and tokens too
            ends = Ends.of_up(again)
            assert await ends.read(client, "temperature") == [{"ts": now, "value": "21.5"}]
            await ends.publish(client, {"ts": now + 9, "values": {"temperature": 22}})
            await ends.until_read(client, "temperature", now + 9, "22")
    await _is_refused_in_another_shape(data)


async def _is_refused_a_second_time(data: Path, holder: int) -> None:
    ended = await edgeferry("up", "--data", str(data))
    assert ended.returncode == 1
    assert f"in use by another Edgeferry (process {holder})" in ended.stderr
    assert "--data" in ended.stderr


async def _is_refused_in_another_shape(data: Path) -> None:
    kept = (data / "cloud" / "settings.yaml").read_bytes()
    for options in (("--servers", "local"), ("--kafka", "127.0.0.1:9")):
        ended = await edgeferry("up", "--data", str(data), *options)
        assert ended.returncode == 1
        assert "the Cloud in" in ended.stderr
        assert "its log in SQLite, not in the Kafka" in ended.stderr
        assert "edgeferry move" in ended.stderr
        assert "Traceback" not in ended.stderr
    for command in ("cloud", "edge"):
        ended = await edgeferry(command, "--data", str(data))
        assert ended.returncode == 1
        assert "belongs to `edgeferry up`" in ended.stderr
    assert (data / "cloud" / "settings.yaml").read_bytes() == kept


def _is_its_owners_alone(data: Path, tokens: Sequence[str]) -> None:
    for path in (data, *data.rglob("*")):
        assert not path.stat().st_mode & 0o077, path
    for log in (data / "logs").iterdir():
        assert not any(token in log.read_text() for token in tokens)


def _pids(data: Path) -> dict[str, int]:
    found: dict[str, int] = orjson.loads((data / "running.json").read_bytes())["pids"]
    return found


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_two_that_start_at_once_on_the_usual_ports_both_run(tmp_path: Path) -> None:
    async with up(tmp_path / "one") as (_, one), up(tmp_path / "two") as (_, two):
        addresses = [
            address
            for ready in (one, two)
            for site in ("cloud", "edge")
            for address in ready[site].values()
        ]
        assert len(set(addresses)) == len(addresses) == 10


async def test_a_chain_is_changed_only_when_nothing_is_left_unread(tmp_path: Path) -> None:
    data, now = tmp_path / "data", SystemClock().now_ms()
    async with httpx.AsyncClient() as client:
        async with up(data, *ANY_PORTS) as (_, first):
            await Ends.of_up(first).publish(client, {"ts": now, "values": {"temperature": 1}})
            await Ends.of_up(first).until_read(client, "temperature", now, "1")
        async with up(data, "--chain-cloud", "cloud_history_only") as (_, second):
            await Ends.of_up(second).publish(client, {"ts": now + 1, "values": {"temperature": 2}})
            await Ends.of_up(second).until_read(client, "temperature", now + 1, "2")
            latest = await Ends.of_up(second).read(client, "temperature")
            assert latest == [{"ts": now, "value": "1"}]  # this chain keeps history only


async def test_a_chain_that_is_not_there_is_told_and_nothing_was_started(tmp_path: Path) -> None:
    ended = await edgeferry("up", "--data", str(tmp_path / "data"), "--chain-cloud", "nope")
    assert ended.returncode == 1
    assert "nope" in ended.stderr
    assert "stopping" not in ended.stderr
    assert "starting" not in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_folder_that_cannot_be_made_is_told() -> None:
    for command in ("up", "cloud", "edge"):
        ended = await edgeferry(command, "--data", "/proc/edgeferry")
        assert ended.returncode == 1
        assert "cannot work in /proc/edgeferry" in ended.stderr
        assert "choose another folder with --data" in ended.stderr
