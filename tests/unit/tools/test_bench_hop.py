"""What the hop benchmark and the examination of a log count, on a log of SQLite."""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import Stop
from edgeferry.core.events import CloudEvent
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Outgoing
from edgeferry.log.codec import encode_cloud_event, encode_message
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import chain_topics
from edgeferry.tools.bench import hop_node
from edgeferry.tools.bench.chain_audit import hop_repeats, marks
from edgeferry.tools.bench.hop import count_outputs
from edgeferry.tools.bench.report import Report

HEADERS = [("type", b"t"), ("origin", b"o"), ("traceparent", b"p")]
TOPICS = (hop_node.OUTPUT, "edge.root", "edge.events", "edge.unused")


@pytest_asyncio.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    log = SqliteLog(folder=tmp_path, clock=SystemClock())
    await log.start()
    await log.ensure(chain_topics(TOPICS, 1))
    yield log
    await log.stop()


def message(id_: str, **metadata: str) -> bytes:
    return encode_message(
        RuleMessage(id_, "t", 0, 0, [], "TYPE", "DEVICE", "d", metadata, "JSON", "{}")
    )


def event(id_: str) -> bytes:
    return encode_cloud_event(
        CloudEvent(
            id=id_,
            created_time=0,
            stamp=0,
            tenant_id="t",
            action="UPDATED",
            type="DEVICE",
            entity_type="DEVICE",
            entity_id="d",
            entity_name="",
            entity_profile="",
        )
    )


def written(topic: str, values: Iterable[bytes]) -> list[Outgoing]:
    return [Outgoing(topic, b"d", value, HEADERS) for value in values]


def marked(*ids: str) -> list[bytes]:
    return [message(id_, **{hop_node.MARKED: "1"}) for id_ in ids]


@pytest.mark.asyncio
async def test_outputs_that_are_missing_and_those_there_twice_are_counted(log: SqliteLog) -> None:
    await log.append(written(hop_node.OUTPUT, marked("a", "b", "b")))
    report = Report("hop")
    await count_outputs(log, 4, report)
    assert (report.figures["lost"], report.figures["duplicates"]) == (2, 1)


@pytest.mark.asyncio
async def test_an_output_that_the_node_has_not_marked_ends_the_benchmark(log: SqliteLog) -> None:
    await log.append(written(hop_node.OUTPUT, [message("a")]))
    with pytest.raises(Stop, match="without the node's mark or headers: a"):
        await count_outputs(log, 1, Report("hop"))


@pytest.mark.asyncio
async def test_what_a_hop_wrote_again_is_counted_by_topic(log: SqliteLog) -> None:
    await log.append(written("edge.root", [message("before")]))
    since = await marks(log, ["edge.root", "edge.events", "edge.unused"])
    await log.append(written("edge.root", [message("before"), message("a"), message("b")]))
    await log.append(written("edge.events", [event("a"), event("b"), event("a"), b"broken"]))
    assert await hop_repeats(log, since) == {"edge.root": 0, "edge.events": 1}
