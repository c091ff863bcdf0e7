"""What a benchmark reports."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Record
from edgeferry.log.codec import encode_message
from edgeferry.tools.bench import command
from edgeferry.tools.bench.chain_audit import Audit
from edgeferry.tools.bench.report import CpuMeter, Report, quantile
from edgeferry.tools.bench.tables import side_by_side


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 100.0)]
)
def test_quantile_of_1_to_100(share: float, expected: float) -> None:
    assert quantile([float(n) for n in range(100, 0, -1)], share) == expected


def test_a_figure_that_was_not_measured_is_absent() -> None:
    report = Report("hop")
    report.add(lost=0, drain_seconds=None)
    report.add_latency([])
    assert report.line().keys() == {"name", "lost", "cores", "load"}


def test_cpu_of_a_process_counts_from_the_start_of_the_meter() -> None:
    meter = CpuMeter({"test": os.getpid()})
    while meter.seconds()["test"] < 0.05:
        sum(range(10_000))
    assert meter.seconds().keys() == {"test"}


@contextlib.contextmanager
def busy() -> Iterator[subprocess.Popen[bytes]]:
    """A process that only burns CPU."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield process
        finally:
            process.kill()


def until_used(meter: CpuMeter, seconds: float) -> None:
    deadline = time.monotonic() + 30
    while meter.seconds()["role"] < seconds:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_cpu_of_a_killed_process_counts_and_that_of_its_successor_too() -> None:
    with busy() as first:
        meter = CpuMeter({"role": first.pid})
        until_used(meter, 0.1)
        meter.ending("role")
    used = meter.seconds()["role"]
    assert used >= 0.1
    meter.follow({"role": first.pid})  # it is gone: nothing takes its place
    assert meter.seconds() == {"role": used}
    with busy() as second:
        meter.follow({"role": second.pid})
        until_used(meter, used + 0.1)


def test_a_role_whose_process_ended_unseen_has_no_figure() -> None:
    with busy() as process:
        meter = CpuMeter({"role": process.pid})
    meter.ending("role")
    with busy() as other:
        meter.follow({"role": other.pid})
        assert meter.seconds() == {}


SOUND = dict.fromkeys(
    (
        *("lost", "extra", "duplicates", "wrong_values", "stale_latest", "out_of_order"),
        "hop_duplicates",
    ),
    0,
)


@pytest.mark.parametrize("name", SOUND)
def test_each_kind_of_wrong_message_fails_the_crash_test(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcome: dict[str, object] = {"name": "crash", "servers": "local", **SOUND, "kills": 20}

    @contextlib.asynccontextmanager
    async def running(*_arguments: object, **_options: object) -> AsyncIterator[None]:
        yield

    async def crash(*_arguments: object) -> dict[str, object]:
        return {**outcome}

    monkeypatch.setattr(command, "running", running)
    monkeypatch.setattr(command, "crash", crash)
    run = ["crash", "--data", str(tmp_path), "--json"]
    assert CliRunner().invoke(command.bench, run).exit_code == 0
    ended = CliRunner().invoke(command.bench, [*run, "--kills", "21"])
    assert ended.exit_code == 1
    assert "only 20 of 21 kills fell into the time" in ended.stderr
    outcome[name] = 1
    ended = CliRunner().invoke(command.bench, run)
    assert ended.exit_code == 1
    assert f"not those acknowledged: {name}" in ended.stderr
    assert json.loads(ended.stdout)[name] == 1


def test_lines_stand_side_by_side_with_what_only_one_of_them_has() -> None:
    embedded = {"per_second": 5, "cpu_seconds": {"edge": 1.5}}
    local = {"per_second": 7, "cpu_seconds": {"edge": 2.5, "kafka": 0.5}}
    assert side_by_side([embedded, local]) == [
        ("per_second", 5, 7),
        ("cpu_seconds.edge", 1.5, 2.5),
        ("cpu_seconds.kafka", "", 0.5),
    ]


def entered(*messages: tuple[str, int]) -> Audit:
    """What (device, ts) entering the chain in this order is seen as."""
    audit = Audit()
    for offset, (device, ts) in enumerate(messages):
        audit.add(Record("cloud.root", 0, offset, 0, None, _encoded(device, ts), ()))
    return audit


def _encoded(device: str, ts: int) -> bytes:
    return encode_message(
        RuleMessage(
            id="m",
            tenant_id="t",
            ts=0,
            stamp=0,
            stack=[],
            type="POST_TELEMETRY_REQUEST",
            entity_type="DEVICE",
            entity_id=device,
            metadata={"ts": str(ts)},
            data_type="JSON",
            data="{}",
        )
    )


def test_repeats_are_counted_and_break_no_order() -> None:
    audit = entered(("a", 1), ("a", 2), ("a", 1), ("a", 2), ("a", 3))
    assert (audit.seen, audit.duplicates, audit.out_of_order) == (5, 2, 0)


def test_order_is_per_device_and_by_first_occurrence() -> None:
    audit = entered(("a", 5), ("b", 1), ("a", 4), ("b", 2))
    assert (audit.duplicates, audit.out_of_order) == (0, 1)
