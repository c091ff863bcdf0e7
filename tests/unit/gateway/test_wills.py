"""Wills of clients, and the delay that MQTT 5 has for them (3.1.3.2.2)."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock
from edgeferry.gateway.mqtt.packets import V5, V311, Connect, Disconnect, Properties, Property, Will
from edgeferry.gateway.server import Gateway
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.fakes import TOKEN, CountedMetrics, MemoryLog
from tests.unit.gateway.test_gateway import until

pytestmark = pytest.mark.asyncio
TOPIC = "v1/devices/me/telemetry"
WITH_WILL = 0x04
MakeClient = Callable[..., Awaitable[RawClient]]


@pytest_asyncio.fixture
async def away(gateway: Gateway) -> AsyncIterator[MakeClient]:
    """Clients with a will and a kept session, as they are told to be."""
    async with AsyncExitStack() as stack:

        async def made(
            *, delay: int = 10, expiry: int = 60, clean: bool = True, said: bytes = b'{"gone": 1}'
        ) -> RawClient:
            client = await RawClient(gateway.address, V5).open()
            stack.push_async_callback(client.close)
            will = Will(TOPIC, said, 1, False, {Property.WILL_DELAY: delay})
            keep: Properties = {Property.SESSION_EXPIRY: expiry}
            client.send(Connect(V5, "c", clean, 60, TOKEN, will=will, properties=keep))
            assert (await client.receive()).codes == b"\0"
            return client

        yield made


async def lost(client: RawClient, metrics: CountedMetrics) -> None:
    open_before = metrics.open
    await client.close()
    await until(lambda: metrics.open < open_before)


async def published(log: MemoryLog, *bodies: dict[str, object]) -> None:
    await until(lambda: len(log.messages()) >= len(bodies))
    assert [message.json for message in log.messages()] == list(bodies)


async def test_a_will_waits_for_its_delay(
    away: MakeClient, gateway: Gateway, clock: ManualClock, log: MemoryLog, metrics: CountedMetrics
) -> None:
    await lost(await away(), metrics)
    clock.advance(9)
    await gateway.check()
    assert log.messages() == []
    clock.advance(2)
    await gateway.check()
    await published(log, {"gone": 1})
    clock.advance(100)
    await gateway.check()
    assert len(log.messages()) == 1


async def test_a_client_that_is_back_in_time_has_left_no_will(
    away: MakeClient, gateway: Gateway, clock: ManualClock, log: MemoryLog, metrics: CountedMetrics
) -> None:
    await lost(await away(), metrics)
    clock.advance(9)
    again = await away(clean=False, said=b'{"gone": 2}')
    clock.advance(9)
    await gateway.check()
    await again.silent()
    assert log.messages() == []
    await lost(again, metrics)
    clock.advance(11)
    await gateway.check()
    await published(log, {"gone": 2})


async def test_a_will_goes_with_the_session_when_that_ends_first(
    away: MakeClient, gateway: Gateway, clock: ManualClock, log: MemoryLog, metrics: CountedMetrics
) -> None:
    await lost(await away(delay=3_000, expiry=60), metrics)
    clock.advance(59)
    await gateway.check()
    assert log.messages() == []
    clock.advance(2)
    await gateway.check()
    await published(log, {"gone": 1})


@pytest.mark.parametrize(("delay", "expiry"), [(10, 0), (0, 60)])
async def test_a_will_without_a_delay_or_a_session_goes_at_once(
    away: MakeClient, log: MemoryLog, metrics: CountedMetrics, delay: int, expiry: int
) -> None:
    await lost(await away(delay=delay, expiry=expiry), metrics)
    await published(log, {"gone": 1})


async def test_a_clean_start_ends_the_session_before_and_publishes_its_will(
    away: MakeClient, log: MemoryLog, metrics: CountedMetrics
) -> None:
    await lost(await away(), metrics)
    await away(clean=True, said=b'{"gone": 2}')
    await published(log, {"gone": 1})


@pytest.mark.parametrize("clean", [True, False])
async def test_a_connection_that_is_taken_over_leaves_its_will_to_its_session(
    away: MakeClient, log: MemoryLog, clean: bool
) -> None:
    older = await away()
    newer = await away(clean=clean)
    assert (await older.receive()).codes == b"\x8e"
    await newer.silent()
    if clean:
        await published(log, {"gone": 1})
    else:
        assert log.records == []


async def test_disconnect_takes_the_will_back_or_asks_for_it(
    away: MakeClient, gateway: Gateway, clock: ManualClock, log: MemoryLog
) -> None:
    for reason, said in ((0, b'{"polite": 1}'), (WITH_WILL, b'{"asked": 1}')):
        client = await away(said=said)
        client.send(Disconnect(reason))
        assert await client.closed()
        clock.advance(11)
        await gateway.check()
    await published(log, {"asked": 1})


async def test_all_wills_are_published_when_the_gateway_stops(
    away: MakeClient, gateway: Gateway, log: MemoryLog, metrics: CountedMetrics
) -> None:
    await lost(await away(delay=3_000, expiry=3_600), metrics)
    there = await RawClient(gateway.address, V311).open()
    there.send(Connect(V311, "other", True, 60, TOKEN, will=Will(TOPIC, b'{"there": 1}', 0, False)))
    assert (await there.receive()).codes == b"\0"
    await gateway.stop()
    await published(log, {"there": 1}, {"gone": 1})
    await there.close()


async def test_a_will_on_another_topic_is_told_in_the_log(
    gateway: Gateway, log: MemoryLog, metrics: CountedMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = await RawClient(gateway.address, V311).open()
    client.send(Connect(V311, "c", True, 60, TOKEN, will=Will("last/words", b"{}", 1, False)))
    assert (await client.receive()).codes == b"\0"
    await lost(client, metrics)
    await until(lambda: "'last/words' is not a topic for wills" in caplog.text)
    assert log.records == []
