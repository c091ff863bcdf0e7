"""What leaves the Edge queue before its Edge has it: in which order, counted and warned of."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.core.store import EdgeEventRow, Position, Store
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from edgeferry.sync.edge_queue import QueueNews
from edgeferry.sync.queue_bounds import QueueBounds, Retention, stream_of
from edgeferry.sync.queue_log import DownLanes

pytestmark = pytest.mark.asyncio
GENERAL, TELEMETRY = "edge-events", "edge-events-ts"
EDGE, OTHER_EDGE = "edge-1", "edge-2"


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store(settings=StoreSettings(), data=tmp_path, clock=SystemClock())
    await made.start()
    yield made
    await made.stop()


class Queue:
    def __init__(self, store: Store, rows: int) -> None:
        self._store = store
        self._bounds = QueueBounds(
            store=store.edge_events, positions=store.positions, retention=Retention(60, rows)
        )
        self.down = DownLanes(store=store.edge_events, positions=store.positions, news=QueueNews())

    async def add(self, lane: str, count: int, edge_id: str = EDGE) -> None:
        _, end = await self._store.edge_events.ends(edge_id, lane)
        await self._store.edge_events.append(
            [
                EdgeEventRow(
                    edge_id, lane, "s", end + number, 1, "A", "DEVICE", "DEVICE", "d", "u", "",
                    "", b"v",
                )
                for number in range(count)
            ]
        )  # fmt: skip

    async def acked(self, lane: str, below: int) -> None:
        detail = '{"log_id": "", "last": "", "lost": 0}'
        await self._store.positions.save(stream_of(EDGE, lane), Position(1, below, "p", detail))

    async def keep(self, later_ms: int = 0) -> None:
        await self._bounds.keep(SystemClock().now_ms() + later_ms)

    async def held(self, lane: str, edge_id: str = EDGE) -> tuple[int, int]:
        start, end = await self._store.edge_events.ends(edge_id, lane)
        return start, end

    async def lost(self) -> list[int]:
        """As ``edges status`` shows it: general lane, telemetry."""
        return [(await outbox.figures()).dropped for outbox in self.down(EDGE)]


async def test_what_the_edge_has_goes_first_then_telemetry_and_the_general_lane_last(
    store: Store,
) -> None:
    queue = Queue(store, rows=10)
    await queue.add(GENERAL, 6)
    await queue.add(TELEMETRY, 8)
    await queue.acked(GENERAL, 2)
    await queue.acked(TELEMETRY, 1)
    await queue.keep()  # 4 too many: 1 and 2 that the edge has, 1 of telemetry that it has not
    assert (await queue.held(GENERAL), await queue.held(TELEMETRY)) == ((2, 6), (2, 8))
    assert await queue.lost() == [0, 1]
    await queue.add(GENERAL, 8)
    await queue.keep()  # the general lane alone is above the rows
    assert (await queue.held(GENERAL), await queue.held(TELEMETRY)) == ((4, 14), (8, 8))
    assert await queue.lost() == [2, 7]


async def test_each_edge_has_rows_of_its_own(store: Store) -> None:
    queue = Queue(store, rows=3)
    await queue.add(TELEMETRY, 5)
    await queue.add(TELEMETRY, 3, OTHER_EDGE)
    await queue.keep()
    assert await queue.held(TELEMETRY) == (2, 5)
    assert await queue.held(TELEMETRY, OTHER_EDGE) == (0, 3)


async def test_what_is_too_old_is_lost_only_where_the_edge_has_it_not(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(store, rows=1_000)
    await queue.add(TELEMETRY, 5)
    await queue.acked(TELEMETRY, 5)
    await queue.keep(later_ms=61_000)
    assert await queue.held(TELEMETRY) == (5, 5)
    assert (await queue.lost(), caplog.text) == ([0, 0], "")
    await queue.add(TELEMETRY, 3)
    await queue.keep(later_ms=61_000)
    assert await queue.lost() == [0, 3]
    assert "edge edge-1, lane edge-events-ts: 3 events" in caplog.text


async def test_a_warning_comes_once_at_four_fifths_of_the_rows_that_wait(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(store, rows=10)
    await queue.add(TELEMETRY, 7)
    await queue.keep()
    assert caplog.text == ""
    await queue.add(GENERAL, 1)
    await queue.keep()
    await queue.keep()
    assert caplog.text.count("8 events wait in the Edge queue") == 1
    await queue.acked(TELEMETRY, 7)
    await queue.keep()
    await queue.add(TELEMETRY, 9)
    await queue.keep()
    assert caplog.text.count("events wait in the Edge queue") == 2
