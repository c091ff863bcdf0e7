"""``edgeferry outbox``: what of an Edge waits for its Cloud."""

from collections.abc import Sequence
from pathlib import Path

import click

from edgeferry.core.clock import Clock, SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.disk import least_free, room_of
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.store import open_store
from edgeferry.sync.outbox_watch import WatchedLane
from edgeferry.tools.opened import opened_log
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table
from edgeferry.tools.site_outbox import lane_row, outboxes, watched


@click.command()
@settings_option("edge")
@json_option
@asynchronous
async def outbox(settings_file: Path, as_json: bool) -> None:
    """What of an Edge waits for its Cloud; its site may run or not."""
    settings = load_settings(settings_file)
    if settings.role != "edge":
        raise InvalidSettings(f"{settings_file} is of a Cloud: only an Edge has an outbox")
    clock = SystemClock()
    store = open_store(settings=settings.store, data=settings.data, clock=clock, read_only=True)
    async with opened_log(settings) as log:
        await store.start()
        try:
            lanes = watched(settings, outboxes(settings, log, store.positions))
            rows = [await _row(lane, clock) for lane in lanes]
        finally:
            await store.stop()
    disk = _disk(settings)
    if as_json:
        print_json({"site": settings.site, "lanes": rows, "disk": disk})
        return
    _show(settings.site, rows, disk)


async def _row(lane: WatchedLane, clock: Clock) -> dict[str, object]:
    figures = await lane.outbox.figures()
    return lane_row(lane.outbox.lane, lane.kind, figures, lane.caps, clock.now_ms())


def _disk(settings: Settings) -> dict[str, int]:
    room = room_of(settings.data)
    least = least_free(room, settings.disk.min_free_bytes)
    return {"free_bytes": room.free, "min_free_bytes": least}


def _show(site: str, rows: Sequence[dict[str, object]], disk: dict[str, int]) -> None:
    print_table(
        ("lane", "events", "bytes", "oldest", "full", "when full", "dropped", "acked"),
        (
            (
                row["lane"],
                row["depth"],
                f"{row['bytes']}" if row["bytes_measured"] else f"about {row['bytes']}",
                f"{row['oldest_age_seconds']} s",
                f"{float(str(row['full'])):.1%}",
                row["policy"],
                row["dropped"],
                row["acked"],
            )
            for row in rows
        ),
        title=f"{site}: waits for the Cloud",
    )
    click.echo(
        f"disk: {disk['free_bytes']} bytes free; devices are refused below {disk['min_free_bytes']}"
    )
