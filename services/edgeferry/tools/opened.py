"""A site's log for a tool that stands beside the running site."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import LogUnavailable, Stop, StoreUnavailable
from edgeferry.log.open import open_log
from edgeferry.log.port import Log
from edgeferry.runtime.settings import Settings
from edgeferry.tools.shape import HERE, SiteShape

_ANSWER_SECONDS = 2.5
"""A person waits; what a Kafka that runs needs is a tenth of it."""
_ADVICE = "start it; that of `edgeferry up` runs as long as it does"


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


async def must_answer(bootstrap: str, advice: str = _ADVICE) -> None:
    """Raises LogUnavailable within seconds when no broker does."""
    from edgeferry.log.kafka_topics import KafkaTopics

    try:
        await KafkaTopics(bootstrap, timeout=_ANSWER_SECONDS).partitions()
    except LogUnavailable as error:
        raise LogUnavailable(f"Kafka at {bootstrap} does not answer: {advice}") from error


async def servers_must_answer(shape: SiteShape) -> None:
    """Those that a site is to stand on and that run already: before anything is made.

    Raises LogUnavailable, StoreUnavailable within seconds."""
    if shape.kafka not in ("", HERE):
        await must_answer(shape.kafka, "start it, or name another one with --kafka")
    if shape.cassandra in ("", HERE):
        return
    for point in shape.cassandra.split(","):
        host, _, port = point.rpartition(":")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError, ValueError):
            continue
        writer.close()
        return
    raise StoreUnavailable(
        f"Cassandra at {shape.cassandra} does not answer: start it, or name another one with "
        "--cassandra HOST:PORT"
    )
