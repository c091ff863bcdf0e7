"""Where reading goes on when the log is not what it was."""

import pytest

from edgeferry.log.port import Log
from edgeferry.streams.runner import Runner
from tests.integration.streams.beds import Bed
from tests.integration.streams.harness import FIRST, Forward, until

pytestmark = pytest.mark.asyncio


async def _run_to_the_end(bed: Bed) -> None:
    running = bed.runner(Forward(bed.site))
    await running.start()
    await bed.drained()
    await running.stop()


async def _reports(running: Runner, text: str) -> bool:
    return text in running.health().detail


async def _trim_unread(log: Log, topic: str) -> None:
    """Delete everything of a topic, as a cap does."""
    ends = {partition: ends.end for partition, ends in (await log.reader.ends(topic)).items()}
    await log.topics.drop(topic, ends)


async def test_a_topic_made_anew_is_read_from_its_start(bed: Bed) -> None:
    """The committed offsets may be above its end; nothing of it may pass for read already."""
    await bed.load(0, 2_000)
    await _run_to_the_end(bed)
    await bed.log.topics.delete([f"{bed.site}.{FIRST}"])
    await bed.make_topics()
    anew = bed.log.new_writer()
    await bed.load(2_000, 2_500, writer=anew)
    running = bed.runner(Forward(bed.site), writer=anew)
    await running.start()
    await bed.all_arrived(2_500)
    await running.stop()
    await anew.stop()


async def test_offsets_above_the_log_make_it_read_from_its_start(bed: Bed) -> None:
    """As after a log was restored from a backup and the offsets were not."""
    topic = f"{bed.site}.{FIRST}"
    await bed.load(0, 500)
    await bed.log.reader.commit(topic, topic, dict.fromkeys(range(4), 9_999))
    running = bed.runner(Forward(bed.site))
    await running.start()
    await bed.all_arrived(500)
    await bed.drained()
    await bed.load(500, 600)
    await bed.drained()
    await running.stop()
    found = await bed.arrived(600)
    assert (found.missing, found.duplicates, found.out_of_order) == (0, 0, 0)
    assert await bed.committed() == 600


async def test_records_deleted_before_they_were_read_are_reported_as_lost(bed: Bed) -> None:
    await bed.load(0, 1_000)
    await _run_to_the_end(bed)
    await bed.load(1_000, 2_000)
    await _trim_unread(bed.log, f"{bed.site}.{FIRST}")
    await bed.load(2_000, 2_100)
    running = bed.runner(Forward(bed.site))
    await running.start()
    await until(lambda: _reports(running, "1000 records were deleted"), 60, "no report")
    assert not running.health().ready
    await bed.drained()
    await running.stop()
    found = await bed.arrived(2_100)
    assert (found.missing, found.duplicates, found.out_of_order) == (1_000, 0, 0)
