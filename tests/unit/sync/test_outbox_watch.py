"""The watch: warns once, drops or refuses as the policy says, and says so everywhere."""

import logging
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from edgeferry.core.admission import Admission, Lane
from edgeferry.core.errors import LogUnusable
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.settings import OutboxLaneSettings, OutboxPolicy
from edgeferry.sync.caps import Figures
from edgeferry.sync.outbox_watch import OutboxWatch, WatchedLane, WatchParts
from edgeferry.sync.resume import Want
from tests.unit.sync.test_outbox import TOPIC, Bench

pytestmark = pytest.mark.asyncio


class Watched:
    def __init__(
        self, policy: OutboxPolicy, *, events: int = 100, age: float = 0, sends: bool = True
    ) -> None:
        self.bench = Bench()
        self.admission = Admission()
        self.metrics = Metrics(CollectorRegistry())
        self.kind: Lane = "telemetry" if policy == "drop_oldest" else "general"
        caps = OutboxLaneSettings(policy=policy, max_events=events, max_age_seconds=age)
        parts = WatchParts(
            admission=self.admission,
            clock=self.bench.clock,
            metrics=self.metrics,
            sends=sends,
        )
        self.watch = OutboxWatch([WatchedLane(self.kind, self.bench.outbox, caps)], parts)

    async def look(self, *, produced: int = 0) -> None:
        self.bench.produce(produced)
        await self.watch.look()

    async def acked(self, offset: int) -> None:
        """The Cloud has everything below."""
        outbox = self.bench.outbox
        if outbox.session is None:
            await self.bench.begin(Want(0, 0, 0))
        lane = outbox.session
        assert lane is not None
        lane.sent(offset, 100, b"", 0)
        lane.ack(lane.epoch, offset)

    @property
    def held(self) -> int:
        return len(self.bench.log.records(TOPIC)) - self.bench.log.starts.get((TOPIC, 0), 0)

    def shown(self, name: str) -> float:
        for line in self.metrics.text().decode().splitlines():
            if line.startswith(f'edgeferry_{name}{{lane="ts"}}'):
                return float(line.split()[-1])
        raise AssertionError(f"no metric {name}")


def messages(caplog: pytest.LogCaptureFixture, level: int) -> Sequence[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


async def test_below_80_percent_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    one = Watched("refuse_new")
    with caplog.at_level(logging.INFO):
        await one.look(produced=79)
    assert caplog.records == []
    assert one.watch.health().detail == ""
    assert one.shown("outbox_cap_ratio") == 0.79


async def test_at_80_percent_there_is_one_warning_until_it_has_emptied(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Watched("refuse_new")
    with caplog.at_level(logging.INFO):
        await one.look(produced=80)
        await one.look(produced=5)
        await one.acked(6)  # 79 wait: within the hysteresis
        await one.look()
        await one.look(produced=5)
    (warning,) = messages(caplog, logging.WARNING)
    assert "at 80% of its cap of events" in warning
    assert "sync.outbox.general.max_events" in warning
    assert "84%" in one.watch.health().detail
    await one.acked(60)
    with caplog.at_level(logging.INFO):
        await one.look()
        await one.look(produced=60)
    assert len(messages(caplog, logging.WARNING)) == 2


async def test_a_full_lane_that_refuses_takes_nothing_until_there_is_room(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Watched("refuse_new")
    await one.look(produced=120)
    refusal = one.admission.refusal("general")
    assert refusal is not None
    assert refusal.by == "outbox"
    assert "120%" in refusal.text
    assert one.admission.refusal("telemetry") is None
    assert one.watch.health().ready
    assert "refusing" in one.watch.health().detail
    assert one.held == 120
    await one.acked(24)  # 96 wait: not yet
    await one.look()
    assert one.admission.refusal("general") is not None
    await one.acked(30)
    await one.look()
    assert one.admission.refusal("general") is None
    assert len(messages(caplog, logging.ERROR)) == 1


async def test_a_full_lane_that_drops_loses_its_oldest_and_says_which(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one = Watched("drop_oldest")
    await one.look(produced=110)
    assert one.held == 95
    assert one.admission.refusal("telemetry") is None
    (said,) = messages(caplog, logging.ERROR)
    assert "dropped its oldest 15 events" in said
    assert "15 in all" in said
    assert "2023-11-14T22:13:20.000+00:00 to 2023-11-14T22:13:34.000+00:00" in said
    assert one.shown("outbox_dropped_events_total") == 15
    assert one.shown("outbox_depth_events") == 95


async def test_what_was_dropped_before_a_restart_stands_in_the_metrics_after_it() -> None:
    one = Watched("drop_oldest")
    await one.look(produced=110)
    another = Watched("drop_oldest")
    another.bench.positions.saved = one.bench.positions.saved
    another.bench.log.starts = one.bench.log.starts
    await another.look(produced=110)
    assert another.shown("outbox_dropped_events_total") == 15


async def test_events_that_are_too_old_are_dropped_a_slice_at_a_time() -> None:
    one = Watched("drop_oldest", events=0, age=100)
    await one.look(produced=99)  # one a second
    assert one.held == 99
    await one.look(produced=1)
    assert one.held == 95


async def test_who_only_looks_refuses_and_drops_nothing() -> None:
    dropping = Watched("drop_oldest", sends=False)
    await dropping.look(produced=150)
    assert dropping.held == 150
    refusing = Watched("refuse_new", sends=False)
    await refusing.look(produced=150)
    assert refusing.admission.refusal("general") is not None


async def test_a_log_that_is_away_is_no_end_and_the_last_figures_stand() -> None:
    one = Watched("drop_oldest")
    await one.look(produced=90)
    one.bench.positions.away = one.bench.topics.away = True
    await one.look(produced=90)
    assert "is away" in one.watch.health().detail
    assert one.watch.health().alive
    assert one.watch.looks["ts"].figures.depth == 90
    one.bench.positions.away = one.bench.topics.away = False
    await one.look()
    assert one.held == 95


async def test_refused_messages_are_shown() -> None:
    one = Watched("refuse_new")
    one.admission.count("general")
    await one.look()
    assert one.shown("outbox_refused_messages_total") == 1


async def test_a_log_that_cannot_be_used_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Watched("refuse_new")

    async def figures() -> Figures:
        raise LogUnusable("log.db is damaged")

    with monkeypatch.context() as patch:
        patch.setattr(one.bench.outbox, "figures", figures)
        for _ in range(3):
            await one.look()
        assert one.watch.health().detail == "ts: log.db is damaged"
    assert len(caplog.records) == 1
    await one.look()
    assert one.watch.health().detail == ""
