"""Commits of a Kafka consumer, of which nothing is left to nobody."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import aiokafka


async def commit(consumer: aiokafka.AIOKafkaConsumer, offsets: Mapping[Any, Any]) -> None:
    """As ``consumer.commit``. When its caller gives up, aiokafka lets the request go on, and
    leaves its error, such as that of a connection that is closed at the stop, to nobody:
    asyncio then tells of it as of a bug. Raises KafkaError."""
    coordinator = consumer._coordinator
    if "_do_commit_offsets" not in vars(coordinator):
        stock = coordinator._do_commit_offsets
        coordinator._do_commit_offsets = partial(_seen, stock)
    await consumer.commit(offsets)


def _seen(stock: Any, assignment: Any, offsets: Any) -> "asyncio.Task[None]":
    task: asyncio.Task[None] = asyncio.create_task(stock(assignment, offsets), name="commit")
    task.add_done_callback(_take)
    return task


def _take(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
