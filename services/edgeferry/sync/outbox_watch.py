"""Watches what waits for the Cloud: warns, and does what the lane's policy says when it is full."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from edgeferry.core.admission import Admission, Lane
from edgeferry.core.clock import Clock
from edgeferry.core.errors import Later, OffsetOutOfRange, Stop
from edgeferry.runtime.background import BackgroundService
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.service import Health
from edgeferry.sync.caps import CALM_BELOW, OPEN_BELOW, WARN_AT, Caps, Figures, Fill, fill
from edgeferry.sync.cutting import cut_offset
from edgeferry.sync.outbox import Outbox

LOOK_SECONDS = 1.0
BY = "outbox"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchedLane:
    """``kind``: the lane as settings and the gateway name it."""

    kind: Lane
    outbox: Outbox
    caps: Caps


class LaneLook(NamedTuple):
    """What was seen last. ``refusing``: devices are refused what would go this way."""

    figures: Figures
    fill: Fill
    refusing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchParts:
    """sends: this process has the lanes' sessions, and so may drop; another one only looks."""

    admission: Admission
    clock: Clock
    metrics: Metrics
    sends: bool = True


class OutboxWatch(BackgroundService):
    """A Service. ``looks``: by name of the lane's topic; empty until the first look."""

    name = "outbox"

    def __init__(self, lanes: Sequence[WatchedLane], parts: WatchParts) -> None:
        self._lanes = lanes
        self._parts = parts
        self._warned: set[str] = set()
        self._looks: dict[str, LaneLook] = {}
        self._problem = ""
        self._said = ""
        super().__init__()

    @property
    def lanes(self) -> Sequence[WatchedLane]:
        return self._lanes

    @property
    def looks(self) -> Mapping[str, LaneLook]:
        return self._looks

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def health(self) -> Health:
        crashed = self._task.crashed
        texts = [crashed, self._problem, *map(self._says, self._lanes)]
        return Health(alive=not crashed, ready=True, detail="; ".join(filter(None, texts)))

    async def look(self) -> None:
        """At every lane, once. What the log or the store does not tell now, the next look
        finds out."""
        self._problem, stopped = "", ""
        for lane in self._lanes:
            try:
                await self._look(lane)
            except (Later, OffsetOutOfRange) as error:
                self._problem = f"{lane.outbox.lane}: {error}"
            except Stop as error:
                self._problem = stopped = f"{lane.outbox.lane}: {error}"
        if stopped and stopped != self._said:
            log.error("the outbox cannot be watched: lane %s", stopped)
        self._said = stopped

    async def _look(self, lane: WatchedLane) -> None:
        if not self._parts.sends:
            lane.outbox.forget()
        seen = await self._seen(lane)
        self._show(lane, seen)
        if seen.fill.ratio >= 1 and lane.caps.policy == "drop_oldest" and self._parts.sends:
            await self._drop(lane, seen.figures)
            seen = await self._seen(lane)
        self._warn(lane, seen)
        refusing = self._refuse(lane, seen.fill)
        self._looks[lane.outbox.lane] = seen._replace(refusing=refusing)
        self._show(lane, seen)

    async def _seen(self, lane: WatchedLane) -> LaneLook:
        figures = await lane.outbox.figures()
        return LaneLook(figures, fill(lane.caps, figures, self._parts.clock.now_ms()), False)

    async def _drop(self, lane: WatchedLane, figures: Figures) -> None:
        outbox = lane.outbox
        below = await cut_offset(outbox, lane.caps, figures, self._parts.clock.now_ms())
        if below <= figures.first:
            return
        last_ms = await outbox.appended_ms(below - 1)
        count = await outbox.drop(below)
        log.error(
            "outbox of lane %s is full: dropped its oldest %d events, appended from %s to %s; %d "
            "in all. %s", outbox.lane, count, _time(figures.oldest_ms), _time(last_ms),
            (await outbox.dropped()).total, _AFTER_DROP[lane.kind],
        )  # fmt: skip

    def _warn(self, lane: WatchedLane, seen: LaneLook) -> None:
        """Once per crossing."""
        name, ratio = lane.outbox.lane, seen.fill.ratio
        if ratio >= WARN_AT and name not in self._warned:
            self._warned.add(name)
            log.warning(
                "%s: %d events (%d bytes) wait for the Cloud; when it is full, %s. Mend the link, "
                "or raise sync.outbox.%s.max_%s", self._filled(lane, seen.fill),
                seen.figures.depth, seen.figures.bytes, _WHEN_FULL[lane.caps.policy], lane.kind,
                "age_seconds" if seen.fill.cap == "age" else seen.fill.cap,
            )  # fmt: skip
        elif ratio < CALM_BELOW and name in self._warned:
            self._warned.remove(name)
            log.info("%s: it has room again", self._filled(lane, seen.fill))

    def _refuse(self, lane: WatchedLane, found: Fill) -> bool:
        admission, kind = self._parts.admission, lane.kind
        refusing = self._refusing(lane)
        if found.ratio >= 1 and lane.caps.policy == "refuse_new":
            text = f"{self._filled(lane, found)}: send again later"
            if not refusing:
                log.error("%s; new messages are refused", self._filled(lane, found))
            admission.refuse(BY, kind, text)
            return True
        if refusing and found.ratio < OPEN_BELOW:
            log.info("%s: messages are taken again", self._filled(lane, found))
            admission.admit(BY, kind)
            return False
        return refusing

    def _refusing(self, lane: WatchedLane) -> bool:
        look = self._looks.get(lane.outbox.lane)
        return look is not None and look.refusing

    def _says(self, lane: WatchedLane) -> str:
        look = self._looks.get(lane.outbox.lane)
        if look is None or look.fill.ratio < WARN_AT:
            return ""
        return self._filled(lane, look.fill) + ("; refusing" if look.refusing else "")

    def _filled(self, lane: WatchedLane, found: Fill) -> str:
        name = lane.outbox.lane
        return f"outbox of lane {name} is at {found.ratio:.0%} of its cap of {found.cap}"

    def _show(self, lane: WatchedLane, seen: LaneLook) -> None:
        name = lane.outbox.lane
        metrics = self._parts.metrics
        age = seen.figures.age_seconds(self._parts.clock.now_ms())
        metrics.lane(name).backlog(seen.figures.depth, age)
        shown = metrics.outbox(name)
        shown.size(seen.figures.bytes, seen.fill.ratio)
        shown.dropped(seen.figures.dropped)
        shown.lost(lane.outbox.lost)
        shown.refused(self._parts.admission.refused[lane.kind])


_WHEN_FULL = {
    "drop_oldest": "its oldest events are dropped",
    "refuse_new": "devices are refused",
}

_AFTER_DROP: dict[Lane, str] = {
    "telemetry": "The Cloud never gets them; they stay in this Edge's store",
    "general": "Attributes and entities, as they are now, are sent again when the Cloud is "
    "connected; alarms, answers to commands and deleted entities are not: compare these by hand, "
    "and raise sync.outbox.general or have it refuse_new",
}


def _time(ms: int | None) -> str:
    if ms is None:
        return "?"
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
