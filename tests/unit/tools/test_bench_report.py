"""What a benchmark reports."""

import os

import pytest

from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Record
from edgeferry.log.codec import encode_message
from edgeferry.tools.bench.chain_audit import Audit
from edgeferry.tools.bench.report import CpuMeter, Report, quantile


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


def entered(*messages: tuple[str, int]) -> Audit:
    """What (device, ts) entering the chain in this order is seen as."""
    audit = Audit()
    audit.add(
        Record("cloud.root", 0, offset, 0, None, _encoded(device, ts), ())
        for offset, (device, ts) in enumerate(messages)
    )
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
