"""A site's room: the watch over its outboxes and its disk, and how that is shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgeferry.core.admission import Admission, Lane
from edgeferry.core.clock import Clock
from edgeferry.core.errors import StoreUnavailable
from edgeferry.core.store import Position, PositionStore
from edgeferry.log.port import GroupReader, Log
from edgeferry.log.topics import site_topic
from edgeferry.runtime.disk import DiskWatch
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.read_access import may_read, refused_reader
from edgeferry.runtime.settings import OutboxLaneSettings, Settings
from edgeferry.sync.caps import Caps, Figures, fill
from edgeferry.sync.edge import EdgeSync
from edgeferry.sync.lanes import GENERAL_UP, TELEMETRY_UP, UP
from edgeferry.sync.outbox import Outbox, epoch_one
from edgeferry.sync.outbox_watch import OutboxWatch, WatchedLane, WatchParts
from edgeferry.sync.send_log import TopicLog

_KINDS: dict[str, Lane] = {GENERAL_UP: "general", TELEMETRY_UP: "telemetry"}


def sync_group(site: str) -> str:
    """Under which a site's outboxes commit in its log."""
    return f"{site}.sync"


def outboxes(
    settings: Settings,
    log: Log,
    positions: PositionStore,
    first_epoch: Callable[[], int] = epoch_one,
) -> list[Outbox]:
    """The lanes that an Edge sends, in order of precedence."""
    return [
        Outbox(
            lane=lane,
            log=TopicLog(
                log.reader,
                topic=site_topic(settings.site, lane),
                group=sync_group(settings.site),
                topics=log.topics,
            ),
            positions=positions,
            stream=f"outbox/{lane}",
            first_epoch=first_epoch,
            replays=lane == TELEMETRY_UP,
        )
        for lane in UP
    ]


def watched(settings: Settings, lanes: Sequence[Outbox]) -> list[WatchedLane]:
    caps: dict[Lane, OutboxLaneSettings] = {
        "general": settings.sync.outbox.general,
        "telemetry": settings.sync.outbox.telemetry,
    }
    return [WatchedLane(_KINDS[o.lane], o, caps[_KINDS[o.lane]]) for o in lanes]


class CommittedPositions:
    """``core.store.PositionStore`` of a process that only looks, and has no store: how far the
    lanes are, as their sender has committed it in the log."""

    def __init__(self, reader: GroupReader, site: str) -> None:
        self._reader = reader
        self._site = site

    async def load(self, stream: str) -> Position | None:
        """Raises LogUnavailable."""
        lane = stream.removeprefix("outbox/")
        if lane not in UP:
            return None
        committed = await self._reader.committed(
            sync_group(self._site), site_topic(self._site, lane)
        )
        if not committed:
            return None
        return Position(0, committed[0], "", orjson.dumps(_UNKNOWN).decode())

    async def save(self, stream: str, position: Position) -> None:
        raise StoreUnavailable("who only looks keeps nothing")

    async def all(self) -> Mapping[str, Position]:
        """Raises LogUnavailable."""
        found = {lane: await self.load(f"outbox/{lane}") for lane in UP}
        return {f"outbox/{lane}": position for lane, position in found.items() if position}


_UNKNOWN = {"log_id": "", "last": "", "lost": 0}


def outbox_watch(settings: Settings, lanes: Sequence[Outbox], parts: WatchParts) -> OutboxWatch:
    """For the process that sends the lanes."""
    return OutboxWatch(watched(settings, lanes), parts)


def outbox_lookout(settings: Settings, log: Log, parts: WatchParts) -> OutboxWatch:
    """For a gateway that is a process of its own: it refuses, and drops nothing."""
    lanes = outboxes(settings, log, CommittedPositions(log.reader, settings.site))
    return OutboxWatch(watched(settings, lanes), replace(parts, sends=False))


def disk_watch(settings: Settings, admission: Admission, metrics: Metrics) -> list[DiskWatch]:
    """None for a site that keeps its log and store on servers."""
    local = "sqlite" in (settings.log.kind, settings.store.kind)
    if not local or settings.disk.min_free_bytes == 0:
        return []
    return [
        DiskWatch(
            folder=settings.data,
            min_free_bytes=settings.disk.min_free_bytes,
            admission=admission,
            metrics=metrics,
        )
    ]


def lane_row(name: str, kind: Lane, figures: Figures, caps: Caps, now_ms: int) -> dict[str, object]:
    """A lane as the route and the command show it. Bytes, seconds; null: no cap. ``full_of``:
    which of the caps is fullest."""
    found = fill(caps, figures, now_ms)
    return {
        "lane": name,
        "kind": kind,
        "depth": figures.depth,
        "bytes": figures.bytes,
        "bytes_measured": figures.measured,
        "oldest_age_seconds": round(figures.age_seconds(now_ms), 3),
        "cap_bytes": caps.max_bytes or None,
        "cap_events": caps.max_events or None,
        "cap_age_seconds": caps.max_age_seconds or None,
        "policy": caps.policy,
        "full": round(found.ratio, 4),
        "full_of": found.cap if _is_capped(caps) else None,
        "acked": figures.acked,
        "end": figures.end,
        "dropped": figures.dropped,
    }


def _is_capped(caps: Caps) -> bool:
    return bool(caps.max_bytes or caps.max_events or caps.max_age_seconds)


def link_row(sync: EdgeSync) -> dict[str, object]:
    """``detail``: why there is no connection. ``sending_all``: the Cloud lost what it had of this
    Edge, and is sent it again."""
    status = sync.status()
    return {
        "connected": status.connected,
        "detail": status.detail,
        "sending_all": status.sending_all,
    }


def outbox_route(
    watch: OutboxWatch,
    admission: Admission,
    clock: Clock,
    read_token: str,
    *,
    data: Path | None = None,
    sync: EdgeSync | None = None,
) -> Route:
    """GET /outbox, for whom /metrics is: what waits for the Cloud, as last looked at, and the
    link (null: of another process). ``data``: by this folder one that asks knows the site."""

    async def show(request: Request) -> Response:
        if not may_read(request, read_token):
            return refused_reader()
        now_ms = clock.now_ms()
        rows = [
            {
                **lane_row(lane.outbox.lane, lane.kind, look.figures, lane.caps, now_ms),
                "refusing": admission.refusal(lane.kind) is not None,
                "refused": admission.refused[lane.kind],
            }
            for lane in watch.lanes
            if (look := watch.looks.get(lane.outbox.lane)) is not None
        ]
        document = {
            "data": str(data) if data is not None else None,
            "link": link_row(sync) if sync is not None else None,
            "lanes": rows,
        }
        return Response(orjson.dumps(document), media_type="application/json")

    return Route("/outbox", show)
