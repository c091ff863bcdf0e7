"""Devices by token, kept in memory."""

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import StoreUnavailable
from edgeferry.gateway.devices import Device
from edgeferry.gateway.known_devices import KnownDevices

PUMP = Device("pump", "5f6e3a00-5b1e-11f0-8000-0242ac120002", "default", "t1")
pytestmark = pytest.mark.asyncio


class Keys:
    def __init__(self, *devices: Device) -> None:
        self.devices = {device.token: device for device in devices}
        self.asked = 0
        self.away = False

    async def device(self, token: str) -> Device | None:
        if self.away:
            raise StoreUnavailable("away")
        self.asked += 1
        return self.devices.get(token)


async def test_a_device_is_asked_for_once() -> None:
    keys = Keys(PUMP)
    known = KnownDevices(keys=keys, clock=ManualClock())
    assert known.find("t1") is None
    assert await known.look("t1") == PUMP
    assert await known.look("t1") == PUMP == known.find("t1")
    assert keys.asked == 1


async def test_an_unknown_token_is_not_asked_for_again_at_once() -> None:
    keys, clock = Keys(), ManualClock()
    known = KnownDevices(keys=keys, clock=clock)
    assert await known.look("t1") is None
    assert await known.look("t1") is None
    assert keys.asked == 1
    keys.devices["t1"] = PUMP
    known.forget(PUMP.id)  # as the news of a new device do
    assert await known.look("t1") == PUMP


async def test_a_forgotten_device_is_looked_up_again_and_may_be_gone() -> None:
    keys = Keys(PUMP)
    known = KnownDevices(keys=keys, clock=ManualClock())
    await known.look("t1")
    assert not await known.refresh()
    keys.devices.clear()
    known.forget(PUMP.id)
    assert known.find("t1") is None
    keys.away = True
    assert not await known.refresh()
    assert known.problem
    keys.away = False
    assert await known.refresh()
    assert (known.problem, known.find("t1"), len(known)) == ("", None, 0)


async def test_what_was_known_for_minutes_is_looked_up_again() -> None:
    keys, clock = Keys(PUMP), ManualClock()
    known = KnownDevices(keys=keys, clock=clock)
    await known.look("t1")
    clock.advance(301)
    assert not await known.refresh()
    assert keys.asked == 2
