"""A commit whose caller gives up, in aiokafka's own words."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import CommitFailedError, IllegalGenerationError, KafkaConnectionError

from edgeferry.log.kafka_commit import commit

pytestmark = pytest.mark.asyncio


class Coordinator(GroupCoordinator):  # type: ignore[misc]
    """Its requests wait until the connection is closed."""

    def __init__(self, error: Exception) -> None:
        self._commit_lock = asyncio.Lock()
        self._error = error
        self.closed = asyncio.Event()
        self.asked = asyncio.Event()
        self._retry_backoff_ms = 1

    async def ensure_coordinator_known(self) -> None:
        """It is."""

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        self.asked.set()
        await self.closed.wait()
        raise self._error

    def __del__(self) -> None:
        """Nothing was opened."""


def consumer_of(coordinator: Coordinator) -> Any:
    async def commit(offsets: Any) -> None:
        await coordinator.commit_offsets(None, offsets)

    return SimpleNamespace(_coordinator=coordinator, commit=commit)


async def test_the_error_of_a_request_that_nobody_waits_for_is_no_news() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    coordinator = Coordinator(KafkaConnectionError("Connection closed"))
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(commit(consumer_of(coordinator), {"tp": 1}), 0.01)
    assert coordinator.asked.is_set()
    coordinator.closed.set()
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()
    assert told == []


async def test_the_error_of_one_that_is_waited_for_is_raised() -> None:
    coordinator = Coordinator(IllegalGenerationError())
    coordinator.closed.set()
    with pytest.raises(CommitFailedError):
        await commit(consumer_of(coordinator), {"tp": 1})
