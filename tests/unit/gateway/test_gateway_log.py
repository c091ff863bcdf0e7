"""The gateway and its log: away, slow, full, or refusing what it is given."""

import asyncio

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import EdgeferryError
from edgeferry.gateway.mqtt.packets import V5, V311, Publish
from edgeferry.gateway.server import Gateway
from tests.unit.gateway.conftest import OpenClient
from tests.unit.gateway.fakes import (
    TOKEN,
    CountedMetrics,
    MemoryLog,
)
from tests.unit.gateway.test_gateway import until

pytestmark = pytest.mark.asyncio
both_versions = pytest.mark.parametrize("version", [V311, V5])
TELEMETRY = "v1/devices/me/telemetry"


@both_versions
async def test_nothing_is_acknowledged_or_lost_while_the_log_is_away(
    version: int, client: OpenClient, gateway: Gateway, log: MemoryLog, metrics: CountedMetrics
) -> None:
    device = await client(version)
    log.failures = 5
    device.publish(1, '{"t": 1}')
    device.publish(2, '{"t": 2}')
    await until(lambda: metrics.retries >= 1)
    assert not gateway.health().ready
    assert gateway.health().alive
    assert "the log is away" in gateway.health().detail
    assert await device.acknowledged(2) == [1, 2]
    assert [m.json["t"] for m in log.messages()] == [1, 2]
    assert metrics.retries == 5
    assert gateway.health() == (True, True, "")


async def test_when_the_log_stays_away_clients_are_ended_without_acknowledgement(
    client: OpenClient, gateway: Gateway, log: MemoryLog, clock: ManualClock
) -> None:
    new, old = await client(V5, client_id="a"), await client(V311, client_id="b")
    idle = await client(V311, client_id="c")
    log.failures = 1_000_000
    new.publish(1, '{"t": 1}')
    old.publish(1, '{"t": 2}')
    await new.silent()
    await old.silent()
    clock.advance(29)
    await gateway.check()
    await new.silent()
    await old.silent()
    clock.advance(2)
    await gateway.check()
    assert (await new.receive()).codes == b"\x89"
    assert await new.closed()
    assert await old.closed()
    turned_away = await client(token=None)
    assert (await turned_away.connect(TOKEN)).codes == b"\3"
    idle.publish(1, '{"t": 3}')
    assert await idle.closed()
    log.failures = 0
    await until(lambda: gateway.health().ready)
    again = await client(V311, client_id="b")
    again.publish(1, '{"t": 2}')
    assert await again.acknowledged(1) == [1]


async def test_a_log_that_answers_nothing_shows_in_the_health(
    client: OpenClient, gateway: Gateway, log: MemoryLog, clock: ManualClock
) -> None:
    device = await client()
    log.gate.clear()
    device.publish(1, '{"t": 1}')
    await device.silent()
    clock.advance(6)
    await gateway.check()
    assert gateway.health() == (True, False, "the log takes no appends: no answer for 6 s")
    log.gate.set()
    assert await device.acknowledged(1) == [1]
    assert gateway.health().ready


async def test_an_array_weighs_as_much_as_its_records(
    client: OpenClient, gateway: Gateway, log: MemoryLog
) -> None:
    device = await client()
    log.gate.clear()
    device.publish(1, "[" + '{"a":1},' * 500 + "{}]")
    await until(lambda: gateway.appender.full)
    log.gate.set()
    assert await device.acknowledged(1) == [1]
    assert not gateway.appender.full


async def test_a_flood_is_stopped_at_a_window_and_goes_on_afterwards(
    client: OpenClient, log: MemoryLog, metrics: CountedMetrics
) -> None:
    device = await client(V311)
    log.gate.clear()
    count = 5_000
    for packet_id in range(1, count + 1):
        device.publish(packet_id, '{"t": 1}')
    await until(lambda: metrics.payloads > 0)
    log.gate.set()
    assert await device.acknowledged(count) == list(range(1, count + 1))
    assert max(log.appends) <= 1_024


async def test_an_mqtt_5_client_beyond_the_receive_maximum_is_ended(
    client: OpenClient, log: MemoryLog
) -> None:
    device = await client(V5)
    log.gate.clear()
    # in one piece: what waits of several would be bounded by its bytes first
    device.send(*(Publish(TELEMETRY, b'{"t": 1}', 1, number) for number in range(1, 514)))
    assert (await device.receive()).codes == b"\x93"
    assert await device.closed()


async def test_all_connections_together_are_bounded(
    client: OpenClient, gateway: Gateway, log: MemoryLog
) -> None:
    log.gate.clear()
    flooding = [await client(client_id=str(n)) for n in range(8)]
    payload = '{"t": "%s"}' % ("x" * 9_000)
    for device in flooding:
        for packet_id in range(1, 21):
            device.publish(packet_id, payload)
    await until(lambda: gateway.appender.full)
    turned_away = await client(token=None)
    assert (await turned_away.connect(TOKEN, "late")).codes == b"\3"
    log.gate.set()
    for device in flooding:
        assert await device.acknowledged(20) == list(range(1, 21))
    assert len(log.messages()) == 160


async def test_a_record_that_the_log_refuses_for_good_stops_only_its_sender(
    client: OpenClient, log: MemoryLog
) -> None:
    log.gate.clear()
    first = await client(V5, client_id="a")
    first.publish(1, '{"t": 0}')
    await first.silent()
    bad, good = await client(V5, client_id="b"), await client(V5, client_id="c")
    bad.publish(1, '{"t": 1}')
    await bad.silent()
    good.publish(1, '{"t": 2}')
    await good.silent()
    log.refused = '"t":1'
    log.gate.set()
    assert await good.acknowledged(1) == [1]
    assert (await bad.receive()).codes == b"\x89"
    assert [m.json["t"] for m in log.messages()] == [0, 2]


@both_versions
async def test_an_unexpected_error_ends_its_senders_unacknowledged_and_nothing_else(
    version: int,
    client: OpenClient,
    gateway: Gateway,
    log: MemoryLog,
    caplog: pytest.LogCaptureFixture,
) -> None:
    unlucky, other = await client(version, client_id="a"), await client(version, client_id="b")
    log.bugs = 1
    unlucky.publish(1, '{"t": 1}')
    if version == V5:
        assert (await unlucky.receive()).codes == b"\x89"
    assert await unlucky.closed()
    assert "ValueError: nobody expected this" in caplog.text
    assert log.records == []
    other.publish(1, '{"t": 2}')
    assert await other.acknowledged(1) == [1]
    again = await client(version, client_id="a")
    again.publish(1, '{"t": 1}')
    assert await again.acknowledged(1) == [1]
    assert [m.json["t"] for m in log.messages()] == [2, 1]
    assert gateway.health() == (True, True, "")


async def test_a_sender_that_cannot_be_told_holds_up_no_other(gateway: Gateway) -> None:
    told: list[EdgeferryError | None] = []

    def broken(error: EdgeferryError | None) -> None:
        raise RuntimeError("no")

    gateway.appender.put([], 0, broken)
    gateway.appender.put([], 0, told.append)
    await until(lambda: told == [None])
    gateway.appender.put([], 0, told.append)
    await until(lambda: told == [None, None])


async def test_an_appender_that_has_ended_refuses_what_waits_and_what_comes(
    client: OpenClient, gateway: Gateway, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def append(records: object) -> None:
        raise asyncio.CancelledError

    waiting, idle = await client(V311, client_id="a"), await client(V311, client_id="b")
    monkeypatch.setattr(log, "append", append)
    waiting.publish(1, '{"t": 1}')
    await until(lambda: not gateway.health().alive)
    await gateway.check()
    assert await waiting.closed()
    idle.publish(1, '{"t": 2}')
    assert await idle.closed()
    assert "appends nothing any more" in gateway.health().detail


async def turned_away(address: str) -> None:
    """Until nobody listens there."""
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionError:
                return
            writer.close()
            await asyncio.sleep(0.005)


async def test_stopping_finishes_what_waits_and_says_goodbye(
    client: OpenClient, gateway: Gateway, log: MemoryLog
) -> None:
    new, old = await client(V5, client_id="a"), await client(V311, client_id="b")
    log.gate.clear()
    new.publish(1, '{"t": 1}')
    await new.silent()
    stopping = asyncio.create_task(gateway.stop())
    await turned_away(gateway.address)
    log.gate.set()
    assert await new.acknowledged(1) == [1]
    assert (await new.receive()).codes == b"\x8b"
    assert await new.closed()
    assert await old.closed()
    await stopping
    assert gateway.health() == (True, False, "not started")
    assert gateway.address == ""


async def test_a_gateway_can_be_started_again(
    client: OpenClient, gateway: Gateway, log: MemoryLog
) -> None:
    await gateway.stop()
    await gateway.start()
    device = await client()
    device.publish(1, '{"t": 1}')
    assert await device.acknowledged(1) == [1]


async def test_what_the_log_does_not_take_before_the_end_is_not_acknowledged(
    client: OpenClient, gateway: Gateway, log: MemoryLog
) -> None:
    device = await client(V5)
    log.gate.clear()
    device.publish(1, '{"t": 1}')
    await device.silent()
    await gateway.appender.stop(0.01)
    assert (await device.receive()).codes == b"\x89"
    assert await device.closed()
    assert log.records == []
