"""Choosing the log by settings."""

from pathlib import Path
from typing import Protocol

from edgeferry.core.clock import Clock
from edgeferry.log.port import Log


class KafkaOptions(Protocol):
    @property
    def bootstrap(self) -> str: ...

    @property
    def replication(self) -> int: ...


class LogOptions(Protocol):
    @property
    def kind(self) -> str: ...

    @property
    def kafka(self) -> KafkaOptions: ...


def open_log(*, settings: LogOptions, data: Path, clock: Clock, owner: bool = True) -> Log:
    """A log that is not started yet. ``data``: the folder of all local state.

    ``owner``: the site's own process. A file has one owner; tools stand beside it, may read,
    commit and append, and make no topics. For Kafka there is no difference.

    The clients of the other kind are not even imported: an embedded Edge stays small."""
    if settings.kind == "kafka":
        from edgeferry.log.kafka_log import KafkaLog

        return KafkaLog(
            bootstrap=settings.kafka.bootstrap,
            replication=settings.kafka.replication,
            clock=clock,
        )
    from edgeferry.log.sqlite import SqliteLog

    return SqliteLog(folder=data, clock=clock, owner=owner)
