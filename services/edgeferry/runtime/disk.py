"""The room on the data folder's file system: below a limit no new messages are taken."""

import asyncio
import logging
import os
from pathlib import Path
from typing import NamedTuple, Protocol

from edgeferry.core.admission import LANES, Admission
from edgeferry.runtime.background import BackgroundService
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.service import Health

BY = "disk"
_LOOK_SECONDS = 1.0
_MIN_FREE_BYTES = 256 * 1024**2
"""Twice what the journals of log and store may grow to while what was taken drains."""
_ROOM_AGAIN = 1.1

log = logging.getLogger(__name__)


class Room(NamedTuple):
    """Bytes of a file system: what we may still write, and all there are."""

    free: int
    size: int


class Disk(Protocol):
    def __call__(self, folder: Path) -> Room:
        """Raises OSError."""
        ...


def room_of(folder: Path) -> Room:
    """Raises OSError."""
    found = os.statvfs(folder)
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def least_free(room: Room, min_free_bytes: int | None) -> int:
    """The limit that a setting (``disk.min_free_bytes``) means on this file system."""
    if min_free_bytes is None:
        return min(_MIN_FREE_BYTES, room.size // 2)
    return min_free_bytes


class DiskWatch(BackgroundService):
    """A Service; not ready while it refuses."""

    name = "disk"

    def __init__(
        self,
        *,
        folder: Path,
        min_free_bytes: int | None,
        admission: Admission,
        metrics: Metrics,
        disk: Disk = room_of,
    ) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._admission = admission
        self._metrics = metrics
        self._disk = disk
        self._problem = ""
        super().__init__()

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    def health(self) -> Health:
        crashed = self._task.crashed
        return Health(not crashed, not (crashed or self._problem), crashed or self._problem)

    async def look(self) -> None:
        try:
            room = await asyncio.to_thread(self._disk, self._folder)
        except OSError as error:  # the log and the store will have more to say about it
            log.warning("free space of %s cannot be told: %s", self._folder, error)
            return
        self._metrics.disk_free(room.free)
        least = least_free(room, self._min_free_bytes)
        if room.free < least:
            self._refuse(room, least)
        elif self._problem and room.free >= least * _ROOM_AGAIN:
            self._admit(room)

    def _refuse(self, room: Room, least: int) -> None:
        text = (
            f"{room.free} bytes are free on the disk of {self._folder}, less than the {least} of "
            "disk.min_free_bytes: make room on it"
        )
        if not self._problem:
            log.error("%s; new messages are refused until then", text)
            for lane in LANES:
                self._admission.refuse(BY, lane, "the disk is nearly full: send again later")
        self._problem = text

    def _admit(self, room: Room) -> None:
        self._problem = ""
        log.info(
            "%d bytes are free on the disk of %s: messages are taken again", room.free, self._folder
        )
        for lane in LANES:
            self._admission.admit(BY, lane)
