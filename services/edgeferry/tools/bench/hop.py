"""``bench hop``: one rule node on a log, at full speed through a topic filled before.

Decode, process, encode, produce, delivered, committed; with headers, metrics and routing.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeferry.core.clock import Clock
from edgeferry.core.errors import LogUnavailable, Stop
from edgeferry.core.ids import DEFAULT_TENANT_ID, MessageIds, new_entity_id
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import (
    HEADER_ORIGIN,
    HEADER_TRACEPARENT,
    HEADER_TYPE,
    LogReader,
    LogWriter,
    Outgoing,
)
from edgeferry.log.codec import decode_message, encode_message
from edgeferry.log.port import Topics
from edgeferry.log.topics import chain_topics, site_topics
from edgeferry.runtime.settings import LogSettings, Settings
from edgeferry.tools.bench import hop_node
from edgeferry.tools.bench.report import CpuMeter, Report
from edgeferry.tools.opened import opened_log
from edgeferry.tools.records import stored_records
from edgeferry.tools.supervise import die_with_parent

_EXPECTED_PER_SECOND = 40_000
_DEVICES = 64
_CHUNK = 5_000
_POLL_SECONDS = 0.1
_READY_SECONDS = 60.0
_TYPE = "POST_TELEMETRY_REQUEST"


@dataclass(frozen=True, slots=True)
class HopPlan:
    """``seconds`` at the expected rate give the number of messages. data: the folder of a
    log on SQLite."""

    log: LogSettings
    data: Path
    seconds: float
    partitions: int
    timeout: float = 300.0

    @property
    def messages(self) -> int:
        return int(self.seconds * _EXPECTED_PER_SECOND)

    @property
    def settings(self) -> Settings:
        return Settings(role="edge", site=hop_node.SITE, data=self.data, log=self.log)


async def hop(plan: HopPlan, clock: Clock) -> dict[str, object]:
    """Topics are made and deleted. Raises LogUnavailable, LogUnusable, Stop."""
    report = Report("hop", {"log": plan.log.kind})
    wanted = chain_topics((hop_node.INPUT, hop_node.OUTPUT), plan.partitions)
    wanted += site_topics(hop_node.SITE, "edge")
    names = [topic.name for topic in wanted]
    async with opened_log(plan.settings, owner=True) as log:
        await _delete(log.topics, names)
        await log.topics.ensure(wanted)
        await _fill(log.writer, plan.messages, clock)
    try:
        await _run_node(plan, clock, report)
        async with opened_log(plan.settings) as log:
            await count_outputs(log.reader, plan.messages, report)
    finally:
        async with opened_log(plan.settings, owner=True) as log:
            await _delete(log.topics, names)
    return report.line()


async def _delete(topics: Topics, names: Sequence[str]) -> None:
    existing = await topics.partitions()
    await topics.delete([name for name in names if name in existing])


async def _fill(writer: LogWriter, messages: int, clock: Clock) -> None:
    """Messages as the gateway makes them: three values, device name and type, headers."""
    ids = MessageIds()
    devices = [new_entity_id() for _ in range(_DEVICES)]
    headers = [
        (HEADER_TYPE, _TYPE.encode()),
        (HEADER_ORIGIN, hop_node.SITE.encode()),
        (HEADER_TRACEPARENT, b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ]
    for start in range(0, messages, _CHUNK):
        records = []
        for number in range(start, min(start + _CHUNK, messages)):
            device, now = devices[number % _DEVICES], clock.now_ms()
            message = RuleMessage(
                id=ids.next(),
                tenant_id=DEFAULT_TENANT_ID,
                ts=now,
                stamp=now * 1000 + number % 1000,
                stack=[],
                type=_TYPE,
                entity_type="DEVICE",
                entity_id=device,
                metadata={
                    "deviceName": f"device-{number % _DEVICES}",
                    "deviceType": "default",
                    "ts": str(now),
                },
                data_type="JSON",
                data=f'{{"count":{number},"temperature":{number / 100:.2f},"state":"running"}}',
            )
            records.append(
                Outgoing(hop_node.INPUT, device.encode(), encode_message(message), headers)
            )
        await writer.append(records)


async def _run_node(plan: HopPlan, clock: Clock, report: Report) -> None:
    node = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "edgeferry.tools.bench.hop_node",
        plan.settings.model_dump_json(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent(os.getpid()),
    )
    assert node.stdin is not None
    assert node.stdout is not None
    try:
        await _until_ready(node.stdout)
        async with opened_log(plan.settings) as log:
            meter, started = CpuMeter({"node": node.pid}), clock.monotonic()
            node.stdin.write(b"go\n")
            await _until_committed(plan, log.topics, clock)
            seconds, cpu = clock.monotonic() - started, meter.seconds()
        report.add(
            seconds=round(seconds, 3),
            messages=plan.messages,
            per_second=round(plan.messages / seconds),
            per_cpu_second=round(plan.messages / cpu["node"]),
            cpu_seconds=cpu,
            partitions=plan.partitions,
        )
        node.stdin.close()
        await node.wait()
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()


async def _until_ready(said: asyncio.StreamReader) -> None:
    """Raises Stop."""
    try:
        async with asyncio.timeout(_READY_SECONDS):
            line = await said.readline()
    except TimeoutError:
        raise Stop(f"the node's process was not ready after {_READY_SECONDS:.0f} s") from None
    if line != b"ready\n":
        raise Stop("the node's process ended before it was ready; see its output above")


async def _until_committed(plan: HopPlan, topics: Topics, clock: Clock) -> None:
    deadline = clock.monotonic() + plan.timeout
    while sum(p.lag for p in await topics.lag(hop_node.INPUT, [hop_node.INPUT])):
        if clock.monotonic() > deadline:
            raise LogUnavailable(f"the node had not committed all after {plan.timeout:.0f} s")
        await asyncio.sleep(_POLL_SECONDS)


async def count_outputs(reader: LogReader, messages: int, report: Report) -> None:
    """Every output once, changed by the node, with its headers. Raises LogUnavailable, Stop."""
    ids: set[str] = set()
    seen = 0
    ends = await reader.ends(hop_node.OUTPUT)
    async for record in stored_records(reader, hop_node.OUTPUT, ends):
        message = decode_message(record.value)
        if hop_node.MARKED not in message.metadata or len(record.headers) < 3:
            raise Stop(f"an output without the node's mark or headers: {message.id}")
        ids.add(message.id)
        seen += 1
    report.add(lost=messages - len(ids), duplicates=seen - len(ids))
