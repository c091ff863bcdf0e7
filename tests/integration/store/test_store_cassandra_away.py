"""A Cassandra of its own that is killed, frozen and started again."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import StoreUnavailable
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, TsEntry
from edgeferry.core.node import AttributesWrite, TimeseriesWrite
from edgeferry.core.store import Position, Store
from edgeferry.runtime.settings import CassandraSettings
from edgeferry.store.cassandra import CassandraStore
from edgeferry.store.cassandra_session import Tuning
from edgeferry.store.metrics import NoMetrics
from edgeferry.store.seal import KEY_FILE, Seal
from edgeferry.tools.servers import LocalServer, LocalServers, ServerOptions
from tests.integration.store.waiting import DEADLINE_SECONDS, until
from tests.unit.store.bench import DEVICE, STAMP, T, all_history, write

BACK_OFF_SECONDS = 0.05


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[LocalServer]:
    made = LocalServers(tmp_path, cassandra_heap="512M", options=ServerOptions(tied=True)).cassandra
    await made.start()
    yield made
    await made.stop()


async def answers(store: Store) -> bool:
    try:
        await store.ping()
    except StoreUnavailable:
        return False
    return True


class Saving:
    """One caller that repeats a batch until it is taken, as the runner does."""

    def __init__(self, store: Store, devices: list[str]) -> None:
        self.saved = 0
        self.refused = 0
        self._store = store
        self._devices = devices
        self._changed = asyncio.Condition()
        self._stopping = False

    async def run(self) -> None:
        while not self._stopping:
            try:
                await self._store.timeseries.save(self._batch(self.saved))
            except StoreUnavailable:
                self.refused += 1
                await asyncio.sleep(BACK_OFF_SECONDS)
            else:
                self.saved += 1
            async with self._changed:
                self._changed.notify_all()

    def stop(self) -> None:
        self._stopping = True

    async def until_saved(self, more: int) -> None:
        goal = self.saved + more
        await self._until(lambda: self.saved >= goal)

    async def until_refused(self, more: int) -> None:
        goal = self.refused + more
        await self._until(lambda: self.refused >= goal)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            await self._changed.wait_for(condition)

    def _batch(self, number: int) -> list[TimeseriesWrite]:
        return [
            write(device, T + number // 2, STAMP + number, v=value_of(number))
            for device in self._devices
        ]


def value_of(number: int) -> int | str:
    return number if number % 3 else "text"


@pytest.mark.asyncio
async def test_a_killed_or_frozen_server_is_used_again_when_it_returns(
    server: LocalServer, tmp_path: Path
) -> None:
    assert server.address is not None
    settings = CassandraSettings(contact_points=(server.address,), keyspace="away")
    store = CassandraStore(
        settings=settings,
        seal=Seal(tmp_path / KEY_FILE),
        clock=SystemClock(),
        metrics=NoMetrics(),
        tuning=Tuning(request_seconds=2.0),
    )
    await store.start()
    devices = [new_entity_id() for _ in range(20)]
    saving = Saving(store, devices)
    task = asyncio.create_task(saving.run())
    await saving.until_saved(10)

    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await saving.until_refused(1)
    finally:
        os.kill(pid, signal.SIGCONT)
    await saving.until_saved(10)

    os.kill(pid, signal.SIGKILL)
    await server.wait()
    await saving.until_refused(3)
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
    await until(lambda: answers(store))
    await saving.until_saved(10)
    saving.stop()
    await task

    expected = {T + number // 2: value_of(number) for number in range(saving.saved)}
    for device in devices:
        entries = await all_history(store, device, "v")
        assert entries == [TsEntry("v", ts, value) for ts, value in expected.items()]
        assert await store.timeseries.latest(DEVICE, device) == entries[-1:]
    await store.stop()
