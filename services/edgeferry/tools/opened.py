"""A site's log for a tool that stands beside the running site."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import LogUnavailable, Stop
from edgeferry.log.open import open_log
from edgeferry.log.port import Log
from edgeferry.runtime.settings import Settings

_ANSWER_SECONDS = 2.5
"""A person waits; what a Kafka that runs needs is a tenth of it."""


@asynccontextmanager
async def opened_log(settings: Settings, *, owner: bool = False) -> AsyncIterator[Log]:
    """``owner``: the site is not running, and topics may be made; then a Kafka that does not
    answer yet is waited for.

    Raises LogUnusable, LogUnavailable or Stop that says what to do when there is no log."""
    if not owner:
        await _must_be_there(settings)
    log = open_log(settings=settings.log, data=settings.data, clock=SystemClock(), owner=owner)
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


async def _must_be_there(settings: Settings) -> None:
    if settings.log.kind == "kafka":
        await must_answer(settings.log.kafka.bootstrap)
    elif not (settings.data / "log.db").is_file():
        raise Stop(f"no log in {settings.data} yet: start the site first, or name another one")


async def must_answer(bootstrap: str) -> None:
    """Raises LogUnavailable within seconds when no broker does."""
    from edgeferry.log.kafka_topics import KafkaTopics

    try:
        await KafkaTopics(bootstrap, timeout=_ANSWER_SECONDS).partitions()
    except LogUnavailable as error:
        raise LogUnavailable(
            f"Kafka at {bootstrap} does not answer: is `edgeferry up` running?"
        ) from error
