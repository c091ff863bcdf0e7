"""Both ends together over gRPC and TLS: what a session does, and how it goes on after one."""

import asyncio
import logging
from pathlib import Path

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings, Stop
from edgeferry.runtime.settings import ListenSettings, SyncSettings
from edgeferry.sync.cloud import CloudSync
from edgeferry.sync.edge import EdgeSync
from edgeferry.sync.recovery import origin_of
from tests.unit.sync.links import Pair, Site, other_edge, until


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.mark.asyncio
async def test_events_arrive_in_order_with_their_origin(pair: Pair) -> None:
    pair.edge.produce("cloud-events", range(500))
    pair.edge.produce("cloud-events-ts", range(300))
    async with pair.cloud_runs(), pair.edge_runs():
        await until(lambda: len(pair.arrived()) == 500)
        await until(lambda: len(pair.arrived("cloud-events-ts")) == 300)
    assert pair.arrived() == list(range(500))
    assert all(numbers == sorted(numbers) for numbers in pair.arrived_by_key().values())
    record = pair.cloud.log.records("cloud.cloud-events")[0]
    origin = origin_of(record.headers)
    assert origin is not None
    assert (origin.edge, origin.epoch) == (pair.edge_record.id.encode(), 1)
    assert record.headers[0] == ("origin", b"edge")


@pytest.mark.asyncio
async def test_an_event_at_an_idle_edge_is_on_its_way_at_once(pair: Pair) -> None:
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().connected)
        loop = asyncio.get_running_loop()
        seconds = []
        for number in range(10):
            began = loop.time()
            pair.edge.produce("cloud-events", [number])
            while len(pair.arrived()) <= number:
                await asyncio.sleep(0.001)
            seconds.append(loop.time() - began)
            await asyncio.sleep(0.02)
    assert sorted(seconds)[5] < 0.05


@pytest.mark.asyncio
async def test_the_edge_keeps_its_acked_position_and_commits_it_in_its_log(pair: Pair) -> None:
    pair.edge.produce("cloud-events", range(100))
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().lanes["cloud-events"].acked == 100)
    position = pair.edge.positions.saved["outbox/cloud-events"]
    assert (position.epoch, position.offset) == (1, 100)
    assert pair.edge.log.committed["edge.sync", "edge.cloud-events"] == {0: 100}


@pytest.mark.asyncio
async def test_an_edge_that_restarts_goes_on_without_a_repeat(pair: Pair) -> None:
    async with pair.cloud_runs():
        for part in range(3):
            pair.edge.produce("cloud-events", range(part * 50, part * 50 + 50))
            async with pair.edge_runs() as edge:
                upto = part * 50 + 50
                await until(lambda: edge.status().lanes["cloud-events"].acked == upto)  # noqa: B023
    assert pair.arrived() == list(range(150))


@pytest.mark.asyncio
async def test_a_cloud_that_restarts_is_found_again_without_a_repeat(pair: Pair) -> None:
    async with pair.cloud_runs():
        pass
    async with pair.edge_runs() as edge:
        for part in range(3):
            pair.edge.produce("cloud-events", range(part * 50, part * 50 + 50))
            async with pair.cloud_runs():
                await until(lambda: len(pair.arrived()) == part * 50 + 50)  # noqa: B023
            await until(lambda: not edge.status().connected)
    assert pair.arrived() == list(range(150))


@pytest.mark.asyncio
async def test_a_failed_append_ends_session_and_writer_and_leaves_no_gap(pair: Pair) -> None:
    pair.edge.produce("cloud-events", range(10))
    async with pair.cloud_runs(), pair.edge_runs():
        await until(lambda: len(pair.arrived()) == 10)
        (writer,) = pair.cloud.writers
        writer.fail_after = 3
        pair.edge.produce("cloud-events", range(10, 60))
        await until(lambda: set(pair.arrived()) == set(range(60)))
        assert writer.stopped
        assert len(pair.cloud.writers) == 2
    assert all(
        list(dict.fromkeys(numbers)) == sorted(set(numbers))
        for numbers in pair.arrived_by_key().values()
    )


@pytest.mark.asyncio
async def test_a_newer_session_waits_for_the_append_of_the_older(pair: Pair) -> None:
    async with pair.cloud_runs(), pair.edge_runs() as older:
        await until(lambda: older.status().connected and len(pair.cloud.writers) == 1)
        (writer,) = pair.cloud.writers
        writer.gate = asyncio.Event()
        pair.edge.produce("cloud-events", range(20))
        await until(lambda: writer.under_way == 1)
        async with pair.edge_runs() as newer:
            await until(lambda: not older.status().connected)
            assert not newer.status().connected
            assert writer.under_way == 1
            writer.gate.set()
            writer.gate = None
            await until(lambda: set(pair.arrived()) == set(range(20)))
    assert pair.arrived() == list(range(20))


@pytest.mark.asyncio
async def test_a_wrong_secret_is_told_clearly_and_retried(
    pair: Pair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret_file = tmp_path / "secret"
    right = secret_file.read_text()
    secret_file.write_text("wrong")
    pair.edge.produce("cloud-events", range(5))
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        with caplog.at_level(logging.ERROR):
            await until(lambda: "UNAUTHENTICATED" in edge.status().detail)
            await until(lambda: "is wrong" in caplog.text)
        assert edge.health().ready
        assert pair.arrived() == []
        secret_file.write_text(right)
        await until(lambda: len(pair.arrived()) == 5)


@pytest.mark.asyncio
async def test_an_edge_that_is_taken_off_the_list_is_disconnected(pair: Pair) -> None:
    assert pair.cloud_settings.edges_file is not None
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().connected)
        pair.cloud_settings.edges_file.unlink()
        await until(lambda: "UNAUTHENTICATED" in edge.status().detail)


@pytest.mark.asyncio
@pytest.mark.parametrize("why", ["the chain lags", "the disk is nearly full"])
async def test_edges_see_a_wall(pair: Pair, why: str) -> None:
    def hold_back(now: bool) -> None:
        if why == "the chain lags":
            pair.lag = 60_000 if now else 0
        else:
            pair.full = why if now else ""

    parts = pair.edge_parts()
    (general, _) = parts.outboxes
    hold_back(True)
    async with pair.cloud_runs() as cloud, pair.edge_runs(parts) as edge:
        await until(lambda: "edges are held back" in cloud.health().detail)
        await until(lambda: general.session is not None and not general.session.open)
        pair.edge.produce("cloud-events", range(50))
        await until(lambda: general.last_end == 50)
        assert (await general.figures()).depth == 50
        assert pair.arrived() == []
        hold_back(False)
        await until(lambda: len(pair.arrived()) == 50)
        await until(lambda: cloud.health().detail == "")
        hold_back(True)
        await until(lambda: general.session is not None and not general.session.open)
        assert edge.status().connected


@pytest.mark.asyncio
async def test_what_lags_and_has_no_room_waits_for_both(pair: Pair) -> None:
    pair.lag, pair.full = 60_000, "the disk is nearly full"
    async with pair.cloud_runs() as cloud, pair.edge_runs():
        await until(lambda: "nearly full" in cloud.health().detail)
        pair.full = ""
        await until(lambda: "the chain has caught up" in cloud.health().detail)
        pair.lag = 30_000
        pair.edge.produce("cloud-events", range(5))
        await asyncio.sleep(0)
        assert "the chain has caught up" in cloud.health().detail
        pair.lag = 20_000
        await until(lambda: len(pair.arrived()) == 5)


@pytest.mark.asyncio
async def test_a_telemetry_backlog_does_not_hold_up_the_general_lane(pair: Pair) -> None:
    pair.edge_settings = pair.edge_settings.model_copy(update={"batch_bytes": 1024})
    pair.edge.produce("cloud-events-ts", range(3000))
    pair.edge.produce("cloud-events", range(200))
    async with pair.cloud_runs(), pair.edge_runs():
        await until(lambda: len(pair.arrived()) == 200)
        assert len(pair.arrived("cloud-events-ts")) < 300
        await until(lambda: len(pair.arrived("cloud-events-ts")) == 3000)


@pytest.mark.asyncio
async def test_events_trimmed_before_they_were_sent_are_counted_at_both_ends(pair: Pair) -> None:
    pair.edge.produce("cloud-events", range(100))
    pair.edge.log.trim("edge.cloud-events", 0, 30)
    async with pair.cloud_runs() as cloud, pair.edge_runs() as edge:
        await until(lambda: len(pair.arrived()) == 70)
        assert edge.status().lost == 30
        (status,) = await cloud.edges()
        lane = next(lane for lane in status.lanes if lane.lane == "cloud-events")
        assert lane.lost == 30
    (status,) = await cloud.edges()
    assert [lane.lost for lane in status.lanes if lane.lane == "cloud-events"] == [30]


@pytest.mark.asyncio
async def test_the_cloud_knows_what_was_made_received_and_acked(pair: Pair) -> None:
    other, _ = other_edge(pair, "edge-two")
    pair.edge.produce("cloud-events", range(40))
    async with pair.cloud_runs() as cloud, pair.edge_runs():
        await until(lambda: len(pair.arrived()) == 40)
        statuses = {status.id: status for status in await cloud.edges()}
        assert statuses[pair.edge_record.id].connected
        assert not statuses[other.id].connected
    (first, _) = await cloud.edges()
    lane = next(lane for lane in first.lanes if lane.lane == "cloud-events")
    assert (lane.epoch, lane.made, lane.received, lane.acked) == (1, 40, 40, 40)
    assert not first.connected


@pytest.mark.asyncio
async def test_the_cloud_sends_down_with_the_same_code(pair: Pair) -> None:
    queue = Site("cloud", 1)  # one edge's queue: a log with one partition
    pair.down = lambda _edge_id: [queue.outbox("edge-events"), queue.outbox("edge-events-ts")]
    queue.produce("edge-events", range(120))
    async with pair.cloud_runs(), pair.edge_runs():
        await until(lambda: len(pair.edge.log.records("edge.edge-events")) == 120)
        await until(lambda: queue.positions.saved["outbox/edge-events"].offset == 120)
    name = f"sync/{pair.edge_record.id}/edge-events"
    assert pair.edge.positions.saved[name].offset == 120


@pytest.mark.asyncio
async def test_what_comes_down_says_how_far_the_clouds_clock_is_ahead(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    class Ahead(SystemClock):
        def now_ms(self) -> int:
            return super().now_ms() + 3_600_000

    queue = Site("cloud", 1)
    pair.down = lambda _edge_id: [queue.outbox("edge-events"), queue.outbox("edge-events-ts")]
    pair.cloud.clock = Ahead()
    queue.produce("edge-events", range(1))
    async with pair.cloud_runs(), pair.edge_runs():
        await until(lambda: len(pair.edge.log.records("edge.edge-events")) == 1)
    (record,) = pair.edge.log.records("edge.edge-events")
    assert abs(int(dict(record.headers)["clock"]) - 3_600_000) < 5_000
    assert "3600 s behind that of the Cloud" in caplog.text


@pytest.mark.asyncio
async def test_the_link_waits_for_a_store_or_log_that_is_away(pair: Pair) -> None:
    pair.edge.produce("cloud-events", range(5))
    pair.cloud.positions.away = True
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: "UNAVAILABLE" in edge.status().detail)
        pair.cloud.positions.away = False
        await until(lambda: len(pair.arrived()) == 5)
        pair.cloud.reader.away = True
        pair.edge.produce("cloud-events", range(5, 10))
        await until(lambda: len(pair.arrived()) == 10)
        pair.cloud.reader.away = False
    assert set(pair.arrived()) == set(range(10))


@pytest.mark.asyncio
async def test_a_port_that_is_taken_is_a_clear_error(pair: Pair) -> None:
    async with pair.cloud_runs() as cloud:
        listen = ListenSettings(port=cloud.port)
        second = CloudSync(
            settings=pair.cloud_settings.model_copy(update={"listen": listen}),
            parts=pair.cloud_parts(),
        )
        with pytest.raises(Stop, match="taken"):
            await second.start()


def test_missing_settings_are_all_named(pair: Pair) -> None:
    with pytest.raises(InvalidSettings) as cloud:
        CloudSync(settings=SyncSettings(), parts=pair.cloud_parts())
    for name in ("cert_file", "key_file", "edges_file"):
        assert name in str(cloud.value)
    with pytest.raises(InvalidSettings) as edge:
        EdgeSync(settings=SyncSettings(), parts=pair.edge_parts())
    for name in ("address", "edge_key", "edge_secret_file"):
        assert name in str(edge.value)


@pytest.mark.asyncio
async def test_a_drop_in_a_running_session_is_told_and_the_session_goes_on(pair: Pair) -> None:
    """The Cloud counts what it did not get, the Edge the same."""
    parts = pair.edge_parts()
    (general, _) = parts.outboxes
    async with pair.cloud_runs() as cloud:
        async with pair.edge_runs(parts) as edge:
            pair.edge.produce("cloud-events", range(20))
            await until(lambda: edge.status().lanes["cloud-events"].acked == 20)
            pair.lag = 60_000
            await until(lambda: "held back" in cloud.health().detail)
            await until(lambda: general.session is not None and not general.session.open)
            session = general.session
            for part in range(3):
                pair.edge.produce("cloud-events", range(20 + part * 100, 120 + part * 100))
                await general.drop(90 + part * 100)
            pair.lag = 0
            await until(lambda: edge.status().lanes["cloud-events"].acked == 320)
            assert general.session is session
            missing = set(range(320)) - set(pair.arrived())
            # a batch may have been read already when the Cloud held the Edge back
            assert set(range(120, 290)) <= missing <= set(range(20, 290))
            assert edge.status().lost == len(missing)
            assert (await general.figures()).dropped == len(missing)
        (status,) = await cloud.edges()
    lanes = {lane.lane: lane.lost for lane in status.lanes}
    assert lanes["cloud-events"] == len(missing)


@pytest.mark.asyncio
async def test_drops_under_load_lose_only_what_both_sides_count(pair: Pair) -> None:
    pair.edge_settings = pair.edge_settings.model_copy(update={"batch_bytes": 1024, "in_flight": 2})
    parts = pair.edge_parts()
    (general, _) = parts.outboxes
    async with pair.cloud_runs() as cloud, pair.edge_runs(parts) as edge:
        await until(lambda: edge.status().connected)
        for part in range(20):
            pair.edge.produce("cloud-events", range(part * 200, part * 200 + 200))
            if part % 2:  # or a quick link has sent all of them, every time
                await asyncio.sleep(0.002)
            end = (part + 1) * 200
            await general.drop(end - 40)
        await until(lambda: edge.status().lanes["cloud-events"].acked == 4000)
        pair.edge.produce("cloud-events", range(4000, 4010))
        await until(lambda: edge.status().lanes["cloud-events"].acked == 4010)
        await general.acked(4010, b"")
        dropped = (await general.figures()).dropped
    missing = set(range(4010)) - set(pair.arrived())
    (status,) = await cloud.edges()
    (lost,) = [lane.lost for lane in status.lanes if lane.lane == "cloud-events"]
    assert 0 < len(missing) == lost == dropped
    assert len(pair.arrived()) == 4010 - lost
