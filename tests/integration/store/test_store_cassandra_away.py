"""A Cassandra of its own that is killed, frozen and started again."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import StoreUnavailable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, TsEntry
from edgeferry.core.node import AttributesWrite
from edgeferry.core.store import Position
from edgeferry.runtime.settings import CassandraSettings
from edgeferry.store.cassandra import CassandraStore
from edgeferry.store.cassandra_session import Tuning
from edgeferry.store.metrics import NoMetrics
from edgeferry.tools.servers import LocalServer, LocalServers, ServerOptions
from tests.unit.store.bench import DEVICE, STAMP, T, all_history, write

BACK_WITHIN_SECONDS = 20.0


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[LocalServer]:
    made = LocalServers(tmp_path, cassandra_heap="512M", options=ServerOptions(tied=True)).cassandra
    await made.start()
    yield made
    await made.stop()


async def until_it_works(call: Callable[[], Awaitable[None]]) -> float:
    """Repeat as a runner does; the seconds until it worked."""
    begun = time.monotonic()
    while True:
        try:
            await call()
        except StoreUnavailable:
            assert time.monotonic() - begun < BACK_WITHIN_SECONDS
            await asyncio.sleep(0.1)
        else:
            return time.monotonic() - begun


@pytest.mark.asyncio
async def test_a_killed_or_frozen_server_is_used_again_when_it_returns(
    server: LocalServer,
) -> None:
    assert server.address is not None
    settings = CassandraSettings(contact_points=(server.address,), keyspace="away")
    store = CassandraStore(
        settings=settings,
        clock=SystemClock(),
        metrics=NoMetrics(),
        tuning=Tuning(request_seconds=2.0),
    )
    await store.start()
    devices = [new_entity_id() for _ in range(20)]
    saved: list[int] = []
    stopping = asyncio.Event()
    refusals = 0

    async def save_all() -> None:
        """One caller that repeats a batch until it is taken, as the runner does."""
        nonlocal refusals
        number = 0
        while not stopping.is_set():
            batch = [
                write(device, T + number // 2, STAMP + number, v=number if number % 3 else "text")
                for device in devices
            ]
            try:
                await store.timeseries.save(batch)
            except StoreUnavailable:
                refusals += 1
                await asyncio.sleep(0.05)
            else:
                saved.append(number)
                number += 1

    async def progress() -> None:
        """Ten more batches are taken."""
        goal = len(saved) + 10
        async with asyncio.timeout(BACK_WITHIN_SECONDS):
            while len(saved) < goal:
                await asyncio.sleep(0.02)

    saving = asyncio.create_task(save_all())
    await progress()

    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        while refusals == 0:
            await asyncio.sleep(0.05)
    finally:
        os.kill(pid, signal.SIGCONT)
    await progress()

    before = refusals
    os.kill(pid, signal.SIGKILL)
    await server.wait()
    while refusals < before + 3:
        await asyncio.sleep(0.05)
    with pytest.raises(StoreUnavailable):
        await store.timeseries.latest(DEVICE, devices[0])
    with pytest.raises(StoreUnavailable):
        await store.attributes.save(
            [AttributesWrite(DEVICE, devices[0], Scope.SERVER, {"a": 1}, T, STAMP)]
        )
    with pytest.raises(StoreUnavailable):
        await store.positions.save("stream", Position(1, 2, "x"))
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await server.start()
    assert await until_it_works(store.ping) < 10
    await progress()
    stopping.set()
    await saving

    last = saved[-1]
    expected = {T + number // 2: (number if number % 3 else "text") for number in range(last + 1)}
    for device in devices:
        entries = await all_history(store, device, "v")
        assert entries == [TsEntry("v", ts, value) for ts, value in expected.items()]
        assert await store.timeseries.latest(DEVICE, device) == entries[-1:]
    await store.stop()
