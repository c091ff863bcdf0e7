"""Both ends of a running installation as devices, readers and operators see them."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from confluent_kafka import KafkaError, Message, Producer

from edgeferry.core.record import Record
from edgeferry.log.codec import decode_dead_letter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.topics import site_topic
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.records import stored_records

DEADLINE_SECONDS = 180.0
BASE_TS = 1_700_000_000_000
_POLL_SECONDS = 0.1
_PUBLISH_SECONDS = 20.0
_PACE_SECONDS = 0.02

Address = tuple[str, str, int, int]
"""Site, topic, partition, offset."""


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Raises TimeoutError when it does not hold within the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():
            await asyncio.sleep(_POLL_SECONDS)


class TwoEnds:
    """Publishes at the Edge, reads in the Cloud, looks into both logs."""

    def __init__(self, installation: Installation, client: httpx.AsyncClient) -> None:
        self.installation = installation
        self.devices = installation.devices
        self._ready = installation.ready
        self._client = client
        self._token = ""

    @property
    def edge_mqtt(self) -> tuple[str, int]:
        host, _, port = self._ready["edge"]["mqtt"].rpartition(":")
        return host, int(port)

    async def post(self, body: bytes, device: int = 0) -> httpx.Response:
        """Telemetry at the Edge, whatever the answer. Raises httpx.TransportError."""
        url = f"http://{self._ready['edge']['http']}/api/v1/{self.devices[device][1]}/telemetry"
        return await self._client.post(url, content=body, timeout=_PUBLISH_SECONDS)

    async def publish(self, key: str, number: int, device: int = 0) -> bool:
        """One value, ``number`` at BASE_TS + number; whether it was acknowledged."""
        body = b'{"ts":%d,"values":{"%b":%d}}' % (BASE_TS + number, key.encode(), number)
        try:
            return (await self.post(body, device)).status_code == 200
        except httpx.TransportError:
            return False

    async def stored(self, key: str, device: int = 0) -> dict[int, str]:
        """Number -> value of all that the Cloud's REST shows; empty when it cannot tell."""
        rows = await self._rows(device, {"keys": key, "startTs": BASE_TS, "limit": 100_000,
                                         "endTs": 2 * BASE_TS, "orderBy": "ASC"})  # fmt: skip
        return {row["ts"] - BASE_TS: row["value"] for row in rows.get(key, ())}

    async def latest(self, key: str, device: int = 0) -> int:
        """The number of the latest value; -1 when it cannot tell."""
        rows = await self._rows(device, {"keys": key})
        return max((row["ts"] - BASE_TS for row in rows.get(key, ())), default=-1)

    async def _rows(self, device: int, asked: Mapping[str, str | int]) -> dict[str, Any]:
        base = f"http://{self._ready['cloud']['http']}/api"
        if not self._token:
            admin = self._ready["admin"]
            password = Path(admin["password_file"]).read_text().strip()
            login = {"username": admin["username"], "password": password}
            answer = await self._client.post(f"{base}/auth/login", json=login)
            self._token = answer.json()["token"]
        answer = await self._client.get(
            f"{base}/plugins/telemetry/DEVICE/{self.devices[device][0]}/values/timeseries",
            params=asked,
            headers={"X-Authorization": f"Bearer {self._token}"},
            timeout=_PUBLISH_SECONDS,
        )
        assert answer.status_code in (200, 503), answer.text
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found

    async def until_it_flows(self, key: str) -> None:
        """A new message of every device arrives in the Cloud."""
        everywhere = range(len(self.devices))
        for device in everywhere:
            assert await self.publish(key, 0, device)

        async def arrived() -> bool:
            return all([await self.stored(key, device) == {0: "0"} for device in everywhere])

        await until(arrived)

    def append(
        self, key: bytes, values: Mapping[str, list[bytes | None]]
    ) -> dict[Address, bytes | None]:
        """Raw records, by topic; where each came to stand."""
        placed: dict[Address, bytes | None] = {}

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert partition is not None
            assert offset is not None
            placed[topic.partition(".")[0], topic, partition, offset] = message.value()

        producer = Producer(
            {"bootstrap.servers": self._ready["kafka"], "partitioner": "murmur2_random"}
        )
        for topic, row in values.items():
            for value in row:
                producer.produce(topic, value, key, on_delivery=delivered)
        assert producer.flush(30) == 0
        return placed

    async def records(self, topic: str) -> list[Record]:
        reader = KafkaReader(self._ready["kafka"])
        try:
            ends = await reader.ends(topic)
            return [record async for record in stored_records(reader, topic, ends)]
        finally:
            await reader.stop()

    async def dead_letters(self) -> list[tuple[Address, bytes | None]]:
        """Of both sites: the address of what each holds, and its bytes."""
        topics = [site_topic(site, "dead-letters") for site in ("edge", "cloud")]
        letters = [
            decode_dead_letter(record.value)
            for topic in topics
            for record in await self.records(topic)
        ]
        return [((row.site, row.topic, row.partition, row.offset), row.value) for row in letters]

    async def kill(self, name: str) -> None:
        """SIGKILL one process and wait until it has been started again."""
        pid = self.installation.pids()[name]
        os.kill(pid, signal.SIGKILL)

        async def back() -> bool:
            return self.installation.pids().get(name) not in (None, pid)

        await until(back)


class Load:
    """Every device publishes, one message after the other, never the same twice."""

    def __init__(self, ends: TwoEnds, key: str) -> None:
        self._ends = ends
        self.key = key
        self.acknowledged: list[set[int]] = [set() for _ in ends.devices]

    @property
    def counts(self) -> list[int]:
        """How many are acknowledged, by device."""
        return [len(numbers) for numbers in self.acknowledged]

    async def until_more(self, count: int) -> None:
        """So many more of every device are acknowledged from now on."""
        goals = [before + count for before in self.counts]

        async def reached() -> bool:
            return all(now >= goal for now, goal in zip(self.counts, goals, strict=True))

        await until(reached)

    async def until_all_stored(self) -> None:
        """The Cloud shows every acknowledged value, and its latest is none older."""
        for device, numbers in enumerate(self.acknowledged):
            await self._until_stored(device, numbers)
            stored = await self._ends.stored(self.key, device)
            assert all(value == str(number) for number, value in stored.items())
            assert await self._ends.latest(self.key, device) >= max(numbers)

    async def _until_stored(self, device: int, numbers: set[int]) -> None:
        missing = numbers
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while missing := numbers - (await self._ends.stored(self.key, device)).keys():
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(
                f"{len(missing)} of {len(numbers)} acknowledged values of device {device} "
                f"are not in the Cloud, such as {sorted(missing)[:10]}"
            ) from None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._publish(at)) for at in range(len(self._ends.devices))]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _publish(self, device: int) -> None:
        for number in itertools.count():
            if await self._ends.publish(self.key, number, device):
                self.acknowledged[device].add(number)
            await asyncio.sleep(_PACE_SECONDS)
