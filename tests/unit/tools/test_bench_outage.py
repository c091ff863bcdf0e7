"""What an outage reports of what was seen at the Edge."""

from edgeferry.tools.bench.edge_watch import OutboxSeen, Sample
from edgeferry.tools.bench.outage import seen


def sample(
    seconds: float, rss: float, depth: int, *, connected: bool = True, read: float | None = 2.0
) -> Sample:
    return Sample(seconds, rss, connected, OutboxSeen(depth, depth * 100, depth / 10, 0), read)


SAMPLES = [
    sample(1, 90, 3),
    sample(3, 91, 50, connected=False),
    sample(4, 95, 80, connected=False, read=None),
    sample(5, 92, 99, connected=False, read=4.0),
    sample(7, 93, 120, connected=False),
    sample(8, 94, 20),
    sample(9, 90, 0),
]


def test_before_during_and_after_are_told_apart() -> None:
    found = seen(SAMPLES, begin=2, end=6)
    assert found["outbox"] == {
        "before": {"depth": 3, "bytes": 300, "oldest_seconds": 0.3, "dropped": 0},
        "during": {"depth": 120, "bytes": 12_000, "oldest_seconds": 12.0, "dropped": 0},
        "after": {"depth": 0, "bytes": 0, "oldest_seconds": 0.0, "dropped": 0},
    }
    assert found["rss_mb"] == {"start": 90, "half": 95, "cut_end": 92, "max": 95, "end": 90}
    assert found["reads"] == {"asked": 3, "answered": 2, "p50_ms": 4.0, "max_ms": 4.0}
    assert found["reconnect_seconds"] == 2


def test_an_outage_that_nobody_saw_has_no_figures() -> None:
    assert seen(SAMPLES[:1], begin=2, end=6) == {}
