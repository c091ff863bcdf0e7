"""Stamps rise over restarts of the process, whatever the clock does."""

from dataclasses import replace

import pytest

from edgeferry.core.clock import MICROS_PER_MS, ManualClock, Stamps
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Outgoing
from edgeferry.core.store import Position
from edgeferry.gateway.context import GatewayContext
from edgeferry.gateway.stamps import STREAM, StampKeeper
from edgeferry.log.codec import encode_message
from tests.unit.gateway.fakes import MemoryLog as GatewayLog
from tests.unit.gateway.fakes import make_context
from tests.unit.sync.fakes import MemoryLog, MemoryPositions, MemoryReader

pytestmark = pytest.mark.asyncio
START = 1_700_000_000_000


class Site:
    """What survives a process."""

    def __init__(self) -> None:
        self.log = MemoryLog(ManualClock())
        self.log.make("edge.root", 3)
        self.reader = MemoryReader(self.log)
        self.positions = MemoryPositions()
        self.saves: list[int] = []
        self.positions.on_save = lambda _stream, position: self.saves.append(position.offset)

    def process(self, now_ms: int, *, store: bool = True) -> "Process":
        return Process(self, now_ms, store)

    def append(self, stamp: int, key: bytes = b"k") -> None:
        message = RuleMessage("i", "t", 1, stamp, [], "T", "DEVICE", "d", {}, "JSON", "{}")
        self.log.add(Outgoing("edge.root", key, encode_message(message)))


class Process:
    def __init__(self, site: Site, now_ms: int, store: bool) -> None:
        self.clock = ManualClock(now_ms)
        context = make_context(GatewayLog(), clock=self.clock)
        self.context: GatewayContext = replace(context, stamps=Stamps(self.clock.now_ms))
        positions = site.positions if store else None
        self.keeper = StampKeeper(self.context, reader=site.reader, positions=positions)

    def taken(self) -> bool:
        return self.context.admission.open

    @property
    def stamps(self) -> Stamps:
        return self.context.stamps


async def test_a_clock_set_back_while_the_site_was_killed_makes_no_stamp_fall() -> None:
    site = Site()
    first = site.process(START)
    await first.keeper.start()
    last = 0
    for _ in range(30):
        last = first.stamps.take()
        await first.keeper.look()
        first.clock.advance(1)
    again = site.process(START - 86_400_000)
    await again.keeper.start()
    assert again.stamps.take() > last
    await again.keeper.stop()
    await first.keeper.stop()


async def test_with_a_clock_that_is_right_stamps_are_of_now() -> None:
    site = Site()
    first = site.process(START)
    await first.keeper.start()
    first.stamps.take()
    await first.keeper.look()
    await first.keeper.stop()
    again = site.process(START + 1)
    await again.keeper.start()
    assert again.stamps.take() == (START + 1) * MICROS_PER_MS
    await again.keeper.stop()


async def test_however_often_it_is_killed_stamps_are_at_most_five_seconds_ahead() -> None:
    site = Site()
    for kill in range(20):
        process = site.process(START + kill * 1000)
        await process.keeper.start()
        process.stamps.take()
        await process.keeper.look()
        ahead = process.stamps.next / MICROS_PER_MS - process.clock.now_ms()
        assert ahead <= 5_001
        await process.keeper._task.stop()


async def test_an_idle_site_writes_nothing_and_a_busy_one_every_few_seconds() -> None:
    site = Site()
    process = site.process(START)
    await process.keeper.start()
    for _ in range(100):
        await process.keeper.look()
        process.clock.advance(1)
    assert site.saves == []
    for _ in range(100):
        process.stamps.take()
        await process.keeper.look()
        process.clock.advance(1)
    assert 20 <= len(site.saves) <= 50
    await process.keeper.stop()


async def test_without_a_store_the_newest_messages_of_every_partition_tell() -> None:
    site = Site()
    high = (START + 5000) * MICROS_PER_MS
    for number, key in enumerate((b"a", b"b", b"c", b"d", b"e")):
        site.append(high + number, key)
    process = site.process(START, store=False)
    await process.keeper.start()
    points = process.context.limits.keys_per_message
    assert process.stamps.take() == high + 4 + points + 1
    await process.keeper.look()
    assert site.saves == []
    await process.keeper.stop()


async def test_a_message_that_cannot_be_read_is_no_obstacle() -> None:
    site = Site()
    site.log.add(Outgoing("edge.root", b"k", b"not a message"))
    process = site.process(START)
    await process.keeper.start()
    assert process.context.admission.open
    await process.keeper.stop()


async def test_nothing_is_taken_until_the_last_stamps_are_known() -> None:
    site = Site()
    await site.positions.save(STREAM, Position(0, (START + 9000) * MICROS_PER_MS, ""))
    site.positions.away = True
    process = site.process(START)
    await process.keeper.start()
    assert not process.taken()
    assert process.keeper.health() == (True, False, "the last stamps are not known yet")
    site.positions.away = False
    await process.keeper.look()
    assert process.taken()
    assert process.keeper.health().ready
    assert process.stamps.take() > (START + 9000) * MICROS_PER_MS
    await process.keeper.stop()
