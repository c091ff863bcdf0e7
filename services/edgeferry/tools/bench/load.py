"""The load generator, a process of its own: devices publish telemetry over MQTT QoS 1 at an
even rate, a reader looks into the Cloud's store for what has arrived and how long it took.

``python -m edgeferry.tools.bench.load PLAN.json`` prints one JSON line per phase
(``measuring``, ``sent``, ``drained``); the last has the result. The ledger goes to a file.
"""

import asyncio
import contextlib
import sys
from bisect import bisect_right
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson
import uvloop

from edgeferry.core.clock import Clock, SystemClock
from edgeferry.core.errors import Later
from edgeferry.core.store import Store, TimeseriesStore
from edgeferry.runtime.settings import load_settings
from edgeferry.store import open_store
from edgeferry.tools.bench.mqtt_device import Device, Refused

_TICK_SECONDS = 0.002
_RECONNECT_SECONDS = 0.2
_SAMPLERS = 2
_SAMPLE_PAUSE_SECONDS = 0.08
_SAMPLE_TIMEOUT_SECONDS = 60.0
_PROGRESS_SECONDS = 0.05
_PROGRESS_DEVICES = 8
_DRAIN_POLL_SECONDS = 0.05
_READS_AT_ONCE = 16
COUNT_KEY = "count"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to offer. rate: messages/s, None for as fast as the Cloud stores them, with at
    most ``outstanding`` published and not stored. messages: the measured phase ends with so
    many, at the latest after ``seconds``. window: unacknowledged per device. settings: the
    Cloud's settings file, for its store. Times in seconds."""

    mqtt: str
    devices: list[tuple[str, str]]
    settings: str
    ledger: str
    rate: float | None
    warmup: float
    seconds: float
    window: int = 256
    outstanding: int = 12_000
    messages: int | None = None
    drain_timeout: float = 180.0
    sample: bool = True


class Load:
    def __init__(self, plan: Plan, timeseries: TimeseriesStore, clock: Clock) -> None:
        self._plan = plan
        self._timeseries = timeseries
        self._clock = clock
        self._random = Random(plan.seconds)
        self._ids = [id_ for id_, _ in plan.devices]
        self._devices = [Device(i, token, self._acked) for i, (_, token) in enumerate(plan.devices)]
        self._published: list[list[int]] = [[] for _ in plan.devices]
        self._acks: list[list[int]] = [[] for _ in plan.devices]
        self._wanted: list[asyncio.Future[tuple[int, int]]] = []
        self._held_back = False
        self._begin_ms = 0
        self.latencies: list[float] = []

    def _acked(self, device: Device, ts: int) -> None:
        self._acks[device.index].append(ts)

    async def run(self) -> dict[str, object]:
        """Offer the load, wait until it is stored, and return what was seen."""
        plan, clock = self._plan, self._clock
        await asyncio.gather(*(self._connect(device) for device in self._devices))
        self._begin_ms = clock.now_ms()
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(self._keep_connected(d)) for d in self._devices]
            if plan.rate is None:
                background.append(group.create_task(self._hold_back()))
            await self._offer(plan.warmup)
            before, started = await self._stored(), clock.monotonic()
            published_before = self._count_published()
            say({"phase": "measuring"})
            if plan.sample:
                background += [group.create_task(self._sample()) for _ in range(_SAMPLERS)]
            await self._offer(plan.seconds, plan.messages)
            published = self._count_published() - published_before
            stored, sent = await self._stored(), clock.monotonic()
            waiting = self._count_published() - stored
            say({"phase": "sent"})
            drained = await self._drain()
            for task in background:
                task.cancel()
        for device in self._devices:
            device.close()
        self._write_ledger()
        result: dict[str, object] = {
            "phase": "drained",
            "published": published,
            "published_in_all": self._count_published(),
            "acked_in_all": sum(map(len, self._acks)),
            "stored": stored - before,
            "waiting": waiting,
            "seconds": sent - started,
            "latencies": self.latencies,
        }
        if drained is not None:
            result["drain_seconds"] = drained
        return result

    async def _connect(self, device: Device) -> None:
        host, _, port = self._plan.mqtt.rpartition(":")
        await device.connect(host, int(port))

    async def _keep_connected(self, device: Device) -> None:
        while True:
            await device.down.wait()
            with contextlib.suppress(OSError, TimeoutError, Refused):
                await self._connect(device)
                continue
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _offer(self, seconds: float, messages: int | None = None) -> None:
        """Publish round robin, message i at i/rate; a device whose window is full or which
        is not connected leaves its turn to the next one."""
        clock, devices, window = self._clock, self._devices, self._plan.window
        rate, started, count, turn = self._plan.rate, self._clock.monotonic(), 0, 0
        upto = messages or sys.maxsize
        while count < upto and (elapsed := clock.monotonic() - started) < seconds:
            due = int(elapsed * rate) + 1 if rate is not None else count + len(devices)
            due = 0 if self._held_back else min(due, upto)
            now_ms, skipped = clock.now_ms(), 0
            while count < due and skipped < len(devices):
                turn = (turn + 1) % len(devices)
                device = devices[turn]
                if not device.connected or len(device.unacked) >= window:
                    skipped += 1
                    continue
                skipped = 0
                self._publish(device, now_ms)
                count += 1
            await asyncio.sleep(_TICK_SECONDS)

    def _publish(self, device: Device, now_ms: int) -> None:
        ts = device.publish(now_ms)
        self._published[device.index].append(ts)
        while self._wanted:
            wanted = self._wanted.pop()
            if not wanted.done():
                wanted.set_result((device.index, ts))
                break

    async def _sample(self) -> None:
        """Take a message at a random time and look for it in the store until it is there.
        The pause between looks is a tenth of its age, so reading adds little load."""
        clock = self._clock
        while True:
            await asyncio.sleep(self._random.random() * _SAMPLE_PAUSE_SECONDS)
            wanted = asyncio.get_running_loop().create_future()
            self._wanted.append(wanted)
            index, ts = await wanted
            published = clock.monotonic()
            while (age := clock.monotonic() - published) < _SAMPLE_TIMEOUT_SECONDS:
                if await self._newest(index, ts, ts + 1) is not None:
                    self.latencies.append((clock.monotonic() - published) * 1000)
                    break
                await asyncio.sleep(max(0.002, age / 10))

    async def _hold_back(self) -> None:
        """Publish only while few enough messages are between publish and store, judged on
        some of the devices."""
        step = max(1, len(self._devices) // _PROGRESS_DEVICES)
        some = range(0, len(self._devices), step)
        limit = self._plan.outstanding * len(some) / len(self._devices)
        while True:
            waiting = sum([len(self._published[i]) - await self._stored_of(i) for i in some])
            self._held_back = waiting > limit
            await asyncio.sleep(_PROGRESS_SECONDS)

    async def _newest(self, index: int, start_ts: int, end_ts: int) -> int | None:
        with contextlib.suppress(Later):
            found = await self._timeseries.history(
                "DEVICE", self._ids[index], COUNT_KEY, start_ts, end_ts, 1, "DESC"
            )
            if found:
                return found[0].ts
        return None

    async def _stored_of(self, index: int) -> int:
        """How many of a device's messages are stored, told by its newest: order holds."""
        published = self._published[index]
        if not published:
            return 0
        newest = await self._newest(index, self._begin_ms, published[-1] + 1)
        return 0 if newest is None else bisect_right(published, newest)

    async def _stored(self) -> int:
        return sum(await gather_some([self._stored_of(i) for i in range(len(self._devices))]))

    async def _drain(self) -> float | None:
        """Seconds until everything published was acknowledged and stored, None when it never
        was. A few devices are looked at until they are through, then the next: all are so at
        about the same time, and the looking must not slow the storing."""
        started = self._clock.monotonic()
        waiting = list(range(len(self._devices)))
        while waiting:
            some = waiting[:_PROGRESS_DEVICES]
            stored = await gather_some([self._stored_of(i) for i in some])
            through = {
                i
                for i, count in zip(some, stored, strict=True)
                if count >= len(self._published[i]) and not self._devices[i].unacked
            }
            waiting = [i for i in waiting if i not in through]
            if not through:
                if self._clock.monotonic() - started > self._plan.drain_timeout:
                    return None
                await asyncio.sleep(_DRAIN_POLL_SECONDS)
        return self._clock.monotonic() - started

    def _count_published(self) -> int:
        return sum(map(len, self._published))

    def _write_ledger(self) -> None:
        ledger = {
            id_: {"published": published, "acked": acked}
            for id_, published, acked in zip(self._ids, self._published, self._acks, strict=True)
        }
        Path(self._plan.ledger).write_bytes(orjson.dumps(ledger))


async def gather_some(reads: Sequence[Coroutine[Any, Any, int]]) -> list[int]:
    """The results in order, a few at a time."""
    found: list[int] = []
    for at in range(0, len(reads), _READS_AT_ONCE):
        found += await asyncio.gather(*reads[at : at + _READS_AT_ONCE])
    return found


def say(line: dict[str, object]) -> None:
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()


async def _main(plan: Plan) -> None:
    clock = SystemClock()
    settings = load_settings(Path(plan.settings))
    store: Store = open_store(
        settings=settings.store, data=settings.data, clock=clock, read_only=True
    )
    await store.start()
    try:
        say(await Load(plan, store.timeseries, clock).run())
    finally:
        await store.stop()


if __name__ == "__main__":
    uvloop.run(_main(Plan(**orjson.loads(Path(sys.argv[1]).read_bytes()))))
