"""What a move carries along of what the sync remembers beside the lanes themselves."""

import json
from pathlib import Path

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.store import Position
from edgeferry.log.sqlite import SqliteLog
from edgeferry.runtime.settings import Settings
from edgeferry.sync.dropped import DropLedger
from edgeferry.tools.move_survey import Surveyor
from edgeferry.tools.topics import wanted_topics
from tests.unit.sync.fakes import MemoryPositions

KEPT = {
    "sync/incarnation": Position(0, 7, "of the store"),
    "exchange/cloud": Position(0, 0, "of the Cloud", '{"below": 3, "log_id": "old"}'),
    "outbox/cloud-events/sent-again": Position(0, 5, ""),
    "gateway/stamps": Position(0, 9, ""),
}
MEMORY = json.dumps({"log_id": "", "last": "", "lost": 0})


@pytest.mark.asyncio
async def test_identities_and_what_was_sent_again_are_carried_and_offsets_of_the_old_log_are_not(
    tmp_path: Path,
) -> None:
    settings = Settings(role="edge", site="edge", data=tmp_path)
    clock, positions = SystemClock(), MemoryPositions()
    log = SqliteLog(folder=tmp_path, clock=clock)
    await log.start()
    try:
        await log.topics.ensure(wanted_topics(settings))
        stored = {
            **KEPT,
            "outbox/cloud-events": Position(4, 0, "of the Cloud", MEMORY),
            "outbox/cloud-events/dropped": Position(0, 5, "", DropLedger(settled=5).pack()),
            "outbox/cloud-events/aside": Position(0, 5, "", "{}"),
        }
        surveyor = Surveyor(
            settings=settings,
            log=log,
            positions=positions,
            stored=stored,
            partitions=lambda _topic: 1,
            clock=clock,
        )
        moved = (await surveyor.survey()).positions
    finally:
        await log.stop()
    assert {stream: moved[stream] for stream in KEPT} == KEPT
    assert moved.keys() == {*KEPT, "outbox/cloud-events", "outbox/cloud-events/dropped"}
    assert moved["outbox/cloud-events"].epoch == 4
