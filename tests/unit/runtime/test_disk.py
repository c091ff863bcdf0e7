"""The watch over free disk: it refuses before the disk is full, and takes again."""

import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from edgeferry.core.admission import LANES, Admission
from edgeferry.runtime.disk import DiskWatch, Room, least_free, room_of
from edgeferry.runtime.metrics import Metrics

GIB = 1024**3


class Watched:
    def __init__(self, min_free_bytes: int | None = 1000) -> None:
        self.room: Room | OSError = Room(5000, 100 * GIB)
        self.admission = Admission()
        self.metrics = Metrics(CollectorRegistry())
        self.watch = DiskWatch(
            folder=Path("data"),
            min_free_bytes=min_free_bytes,
            admission=self.admission,
            metrics=self.metrics,
            disk=self._disk,
        )

    def _disk(self, folder: Path) -> Room:
        if isinstance(self.room, OSError):
            raise self.room
        return self.room

    def taken(self) -> bool:
        return self.admission.open

    async def look(self, free: int) -> None:
        self.room = Room(free, 100 * GIB)
        await self.watch.look()


def test_the_limit_is_256_mib_or_half_of_a_small_disk() -> None:
    assert least_free(Room(0, 1000 * GIB), None) == 256 * 1024**2
    assert least_free(Room(0, GIB // 4), None) == GIB // 8
    assert least_free(Room(0, GIB), 5) == 5


def test_the_room_of_a_real_folder_is_told(tmp_path: Path) -> None:
    room = room_of(tmp_path)
    assert 0 < room.free < room.size


@pytest.mark.asyncio
async def test_below_the_limit_every_lane_is_refused_until_there_is_room(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Watched()
    await one.look(1000)
    assert one.taken()
    assert one.watch.health().ready
    with caplog.at_level(logging.INFO):
        await one.look(999)
        await one.look(998)
    refusals = [one.admission.refusal(lane) for lane in LANES]
    assert [refusal.by for refusal in refusals if refusal] == ["disk", "disk"]
    assert not one.watch.health().ready
    assert one.watch.health().alive
    assert "make room" in one.watch.health().detail
    assert len(caplog.records) == 1
    await one.look(1050)  # not enough to go on
    assert not one.taken()
    await one.look(1100)
    assert one.taken()
    assert one.watch.health() == (True, True, "")


@pytest.mark.asyncio
async def test_free_bytes_are_shown() -> None:
    one = Watched()
    await one.look(1234)
    assert "edgeferry_disk_free_bytes 1234.0" in one.metrics.text().decode()


@pytest.mark.asyncio
async def test_a_disk_that_does_not_tell_changes_nothing() -> None:
    one = Watched()
    await one.look(5)
    one.room = OSError("gone")
    await one.watch.look()
    assert not one.taken()
