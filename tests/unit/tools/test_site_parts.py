"""The small services of a site: one unexpected error ends none of them."""

import logging
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import LogUnavailable
from edgeferry.log.port import PartitionLag, Topics
from edgeferry.tools.site_parts import LagWatch, Trim

pytestmark = pytest.mark.asyncio

READERS = {"edge.sync": ["edge.cloud-events"]}


class FailingTopics:
    """Raises ``errors`` first, one a call."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.trimmed: list[int] = []

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)

    async def lags(
        self, readers: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Sequence[PartitionLag]]:
        self._fail()
        rows = [PartitionLag(topic, 0, 3, 0, 10) for topics in readers.values() for topic in topics]
        return dict.fromkeys(readers, rows)

    async def trim(self, readers: Mapping[str, Sequence[str]], before_ms: int) -> int:
        self._fail()
        self.trimmed.append(before_ms)
        return 1


def tracebacks(caplog: pytest.LogCaptureFixture) -> int:
    return sum(record.exc_info is not None for record in caplog.records)


async def test_the_lag_is_told_again_after_an_unexpected_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    topics = FailingTopics(TypeError("odd"), TypeError("odd"), LogUnavailable("away"))
    watch = LagWatch(cast(Topics, topics), READERS)
    for _ in range(4):
        await watch.look()
    assert watch.total == 7
    assert tracebacks(caplog) == 1


async def test_trimming_is_tried_again_after_an_unexpected_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    topics = FailingTopics(TypeError("odd"), LogUnavailable("away"))
    clock = ManualClock()
    trim = Trim(cast(Topics, topics), READERS, clock, keep_seconds=60)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await trim.trim()
    assert topics.trimmed == [clock.now_ms() - 60_000]
    assert tracebacks(caplog) == 1
    assert len(caplog.records) == 2
