"""Looks at a running Edge as its operator would: memory, outbox, answers to reads."""

import asyncio
import os
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import orjson
import psutil
from prometheus_client.parser import text_string_to_metric_families

from edgeferry.core.clock import Clock
from edgeferry.tools.bench.installation import Installation
from edgeferry.tools.demonstration import PASSWORD_VARIABLE

_EVERY_SECONDS = 0.5
_ANSWER_SECONDS = 10.0
_MB = 1_000_000


class OutboxSeen(NamedTuple):
    """Of all lanes: events that are not acknowledged, their bytes, the oldest one's age;
    dropped: events that had to go for lack of room, ever."""

    depth: int
    bytes: int
    oldest_seconds: float
    dropped: int


class Sample(NamedTuple):
    """seconds: since the watch began. read_ms: how long a read of a device's latest value
    took; None when it was not answered."""

    seconds: float
    rss_mb: float
    connected: bool
    outbox: OutboxSeen
    read_ms: float | None


class EdgeWatch:
    """Takes a sample twice a second; those of a process that does not answer are left out,
    and a read that is not answered is a sample like the others."""

    def __init__(self, installation: Installation, clock: Clock) -> None:
        self._installation = installation
        self._clock = clock
        self._started = clock.monotonic()
        self._base = f"http://{installation.ready['edge']['http']}"
        self._token = ""
        self.samples: list[Sample] = []

    @property
    def now(self) -> float:
        """Seconds since the watch began."""
        return self._clock.monotonic() - self._started

    def between(self, begin: float, end: float) -> list[Sample]:
        return [sample for sample in self.samples if begin <= sample.seconds <= end]

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._watch(), name="edge watch")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            sample = await self.look()
            if sample is not None:
                self.samples.append(sample)
            await asyncio.sleep(_EVERY_SECONDS)

    async def look(self) -> Sample | None:
        """None when the Edge shows no metrics."""
        at = self.now
        try:
            rss = psutil.Process(self._installation.pids()["edge"]).memory_info().rss
            families = await asyncio.to_thread(self._metrics)
        except (OSError, KeyError, psutil.NoSuchProcess):
            return None
        outbox = OutboxSeen(
            depth=round(sum(families["edgeferry_outbox_depth_events"])),
            bytes=round(sum(families["edgeferry_outbox_bytes"])),
            oldest_seconds=round(max(families["edgeferry_outbox_oldest_seconds"]), 1),
            dropped=round(sum(families["edgeferry_outbox_dropped_events"])),
        )
        connected = any(families["edgeferry_sync_connected"])
        read_ms = await asyncio.to_thread(self._read)
        return Sample(round(at, 2), round(rss / _MB, 1), connected, outbox, read_ms)

    def _metrics(self) -> dict[str, list[float]]:
        """Name -> the values of all its labels. Raises OSError."""
        text = _get(f"{self._base}/metrics", {}).decode()
        return {
            family.name: [sample.value for sample in family.samples]
            for family in text_string_to_metric_families(text)
        }

    def _read(self) -> float | None:
        """A device's latest value by REST; the time that the answer took, in ms."""
        device = self._installation.devices[0][0]
        url = f"{self._base}/api/plugins/telemetry/DEVICE/{device}/values/timeseries?keys=count"
        try:
            if not self._token:
                self._token = self._login()
            started = time.perf_counter()
            found = orjson.loads(_get(url, {"X-Authorization": f"Bearer {self._token}"}))
            took = (time.perf_counter() - started) * 1000
        except urllib.error.HTTPError as error:
            if error.code == 401:
                self._token = ""
            return None
        except OSError:
            return None
        return round(took, 2) if found.get("count") else None

    def _login(self) -> str:
        admin = self._installation.ready["admin"]
        file = admin["password_file"]
        password = Path(file).read_text().strip() if file else os.environ[PASSWORD_VARIABLE]
        body = orjson.dumps({"username": admin["username"], "password": password})
        answer = _get(f"{self._base}/api/auth/login", {"Content-Type": "application/json"}, body)
        return str(orjson.loads(answer)["token"])


def _get(url: str, headers: Mapping[str, str], body: bytes | None = None) -> bytes:
    """Raises OSError, of which urllib's own errors are some."""
    request = urllib.request.Request(url, body, dict(headers))
    with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
        content: bytes = answer.read()
    return content
