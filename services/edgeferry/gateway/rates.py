"""How fast devices may send: token buckets, one per device and one for all."""

from dataclasses import dataclass
from typing import Protocol

UNIT_BYTES = 4096
"""A message counts once for each started part of this size."""
_TIDY_SECONDS = 60.0


class RateLimits(Protocol):
    """Messages per second (0: no limit) and messages at once."""

    @property
    def device_rate(self) -> float: ...

    @property
    def device_burst(self) -> int: ...

    @property
    def site_rate(self) -> float: ...

    @property
    def site_burst(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Unlimited:
    """``RateLimits`` for a gateway whose devices are held back by nobody."""

    device_rate: float = 0.0
    device_burst: int = 1
    site_rate: float = 0.0
    site_burst: int = 1


class Bucket:
    """Filled by ``rate`` a second up to ``burst``. It may be overdrawn: then ``wait`` is longer."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until something may be taken, 0 for now."""
        self._tokens = min(self._burst, self._tokens + self._rate * (now - self._at))
        self._at = now
        return 0.0 if self._tokens > 0 else (1e-3 - self._tokens) / self._rate

    def take(self, count: int) -> None:
        self._tokens -= count

    def full(self, now: float) -> bool:
        """As good as new."""
        self.wait(now)
        return self._tokens >= self._burst


class Rates:
    """Of a gateway. As many buckets as devices that sent lately."""

    def __init__(self, limits: RateLimits, now: float) -> None:
        self._limits = limits
        self._site = Bucket(limits.site_rate, limits.site_burst, now) if limits.site_rate else None
        self._devices: dict[str, Bucket] = {}
        self._tidied = now

    def wait(self, device_id: str, now: float) -> float:
        """Seconds until a message of this device may be taken, 0 for now."""
        waits = self._site.wait(now) if self._site is not None else 0.0
        limits = self._limits
        if limits.device_rate:
            bucket = self._devices.get(device_id)
            if bucket is None:
                bucket = Bucket(limits.device_rate, limits.device_burst, now)
                self._devices[device_id] = bucket
            waits = max(waits, bucket.wait(now))
        return waits

    def take(self, device_id: str, size: int) -> None:
        """A message of ``size`` bytes was taken, after ``wait`` of the same device."""
        count = 1 + size // UNIT_BYTES
        if self._site is not None:
            self._site.take(count)
        bucket = self._devices.get(device_id)
        if bucket is not None:
            bucket.take(count)

    def tidy(self, now: float) -> None:
        """Forget devices that are quiet; to be called every second or so."""
        if now - self._tidied < _TIDY_SECONDS:
            return
        self._tidied = now
        self._devices = {id_: b for id_, b in self._devices.items() if not b.full(now)}
