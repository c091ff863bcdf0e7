"""``edgeferry outbox``: what of an Edge waits for its Cloud."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgeferry.core.clock import Clock, SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.disk import least_free, room_of
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.store import open_store
from edgeferry.sync.outbox_watch import WatchedLane
from edgeferry.tools.opened import opened_log
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import (
    asynchronous,
    byte_size,
    json_option,
    print_json,
    print_table,
    time_span,
)
from edgeferry.tools.site_outbox import lane_row, outboxes, watched
from edgeferry.tools.site_rest import RefusedByTheSite, SiteAway, SiteRest

_POLICIES = {"drop_oldest": "drops its oldest", "refuse_new": "devices are refused"}


@click.command()
@settings_option("edge")
@json_option
@asynchronous
async def outbox(settings_file: Path, as_json: bool) -> None:
    """What of an Edge waits for its Cloud, and whether that is connected; its site may run or
    not. A running one tells it with the caps that it runs with."""
    settings = load_settings(settings_file)
    if settings.role != "edge":
        raise InvalidSettings(f"{settings_file} is of a Cloud: only an Edge has an outbox")
    told = await _told_by_the_site(settings)
    rows = told["lanes"] if told is not None else await _looked_up(settings)
    link = told["link"] if told is not None else None
    disk = _disk(settings)
    if as_json:
        running = told is not None
        document = {"site": settings.site, "running": running, "link": link, "lanes": rows}
        print_json({**document, "disk": disk})
        return
    _show(_title(settings, told), rows, disk)


async def _told_by_the_site(settings: Settings) -> Mapping[str, Any] | None:
    """None when it does not run, or something else listens there."""
    if not settings.http.port:
        return None
    try:
        told = await SiteRest(settings).shown("/outbox")
    except (SiteAway, RefusedByTheSite, ValueError):
        return None
    mine = isinstance(told, dict) and told.get("data") == str(settings.data)
    return told if mine and told.get("lanes") else None


async def _looked_up(settings: Settings) -> list[dict[str, object]]:
    """As its log and its store have it."""
    clock = SystemClock()
    store = open_store(settings=settings.store, data=settings.data, clock=clock, read_only=True)
    async with opened_log(settings) as log:
        await store.start()
        try:
            lanes = watched(settings, outboxes(settings, log, store.positions))
            return [await _row(lane, clock) for lane in lanes]
        finally:
            await store.stop()


async def _row(lane: WatchedLane, clock: Clock) -> dict[str, object]:
    figures = await lane.outbox.figures()
    return lane_row(lane.outbox.lane, lane.kind, figures, lane.caps, clock.now_ms())


def _disk(settings: Settings) -> dict[str, int]:
    room = room_of(settings.data)
    least = least_free(room, settings.disk.min_free_bytes)
    return {"free_bytes": room.free, "min_free_bytes": least}


def _title(settings: Settings, told: Mapping[str, Any] | None) -> str:
    if told is None:
        return (
            f"{settings.site}: does not run, or not at "
            f"{settings.http.host}:{settings.http.port}; the caps are those of its settings"
        )
    link = told["link"]
    if link is None:
        return f"{settings.site}: another process has its link"
    if link["connected"]:
        all_again = ", and sends all to it again, whose store is new"
        again = all_again if link.get("sending_all") else ""
        return f"{settings.site}: connected to its Cloud at {settings.sync.address}{again}"
    return f"{settings.site}: {link['detail']}"


def _show(title: str, rows: Sequence[Mapping[str, Any]], disk: Mapping[str, int]) -> None:
    click.echo(title)
    print_table(
        ("setting", "lane", "events", "bytes", "oldest", "full", "caps", "when full", "dropped",
         "refused", "acked"),
        (_cells(row) for row in rows),
    )  # fmt: skip
    click.echo(
        f"disk: {byte_size(disk['free_bytes'])} free; devices are refused below "
        f"{byte_size(disk['min_free_bytes'])}"
    )


def _cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    size = byte_size(row["bytes"])
    return (
        f"sync.outbox.{row['kind']}",
        row["lane"],
        row["depth"],
        size if row["bytes_measured"] else f"about {size}",
        time_span(row["oldest_age_seconds"]) if row["depth"] else "",
        f"{row['full']:.1%} of {row['full_of']}" if row["full_of"] else "no cap",
        _caps(row),
        _POLICIES[row["policy"]],
        row["dropped"],
        row.get("refused", ""),
        row["acked"],
    )


def _caps(row: Mapping[str, Any]) -> str:
    caps = []
    if row["cap_bytes"]:
        caps.append(byte_size(row["cap_bytes"]))
    if row["cap_events"]:
        caps.append(f"{row['cap_events']} events")
    if row["cap_age_seconds"]:
        caps.append(time_span(row["cap_age_seconds"]))
    return ", ".join(caps)
