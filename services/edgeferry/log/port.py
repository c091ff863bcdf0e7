"""The log port: all that a site needs of its log, whether it is Kafka or a SQLite file."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

from edgeferry.core.record import LogReader, LogWriter
from edgeferry.log.topics import TopicSettings


class PartitionLag(NamedTuple):
    """committed is None where the group has never committed."""

    topic: str
    partition: int
    committed: int | None
    start: int
    end: int

    @property
    def lag(self) -> int:
        return self.end - (self.start if self.committed is None else self.committed)


class GroupReader(LogReader, Protocol):
    """A log reader that also keeps offsets for a group that nobody joins."""

    async def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """Committed offsets of ``group``, partitions without one left out.

        Raises LogUnavailable."""
        ...

    async def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Return when durable. Raises LogUnavailable."""
        ...


class ClosableWriter(LogWriter, Protocol):
    """A log writer that can be ended: nothing of it is delivered after ``stop``."""

    async def stop(self) -> None: ...


class Topics(Protocol):
    """Makes and describes topics. All calls raise LogUnavailable."""

    async def ensure(self, topics: Sequence[TopicSettings]) -> Sequence[str]:
        """Make the topics that are missing; names of those made.

        Raises Stop when one exists with another number of partitions: that of a live
        topic never changes, or keys would move to other partitions."""
        ...

    async def partitions(self) -> Mapping[str, int]:
        """Every topic and its number of partitions."""
        ...

    async def delete(self, topics: Sequence[str]) -> None:
        """Delete topics and what is in them."""
        ...

    async def topic_id(self, topic: str) -> str:
        """The identity of a topic: another one after it was deleted and made anew."""
        ...

    async def lag(self, group: str, topics: Sequence[str]) -> Sequence[PartitionLag]:
        """Of every partition of ``topics``; those of topics that do not exist left out."""
        ...

    async def lags(
        self, readers: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Sequence[PartitionLag]]:
        """``lag`` of each reader (group -> its topics), asked for all at once."""
        ...

    async def trim(self, readers: Mapping[str, Sequence[str]], before_ms: int) -> int:
        """Delete what every reader (group -> its topics) has committed and what was appended
        before ``before_ms``; how many records. A group that has committed nothing yet holds
        its topics whole."""
        ...

    async def drop(self, topic: str, below: Mapping[int, int]) -> int:
        """Delete the records of each partition below an offset, read or not; how many.
        For caps: who still had to read them finds OffsetOutOfRange."""
        ...

    async def held_bytes(self, topic: str, partition: int, offset: int) -> int | None:
        """Bytes of keys, values and headers from ``offset`` on; None where the log cannot tell."""
        ...


class Log(Protocol):
    """A site's log. The parts may be used between ``start`` and ``stop``."""

    @property
    def kind(self) -> Literal["kafka", "sqlite"]: ...

    @property
    def writer(self) -> LogWriter:
        """Shared by all of the process."""
        ...

    @property
    def reader(self) -> GroupReader: ...

    @property
    def topics(self) -> Topics: ...

    @property
    def problem(self) -> str:
        """Why nothing can be written, and what to do; empty while all is well, and where the
        log is a server that is asked by each call."""
        ...

    def new_writer(self) -> ClosableWriter:
        """A writer of one's own, whose failures concern nobody else."""
        ...

    async def start(self) -> None:
        """Raises LogUnusable (Stop) when a file or folder cannot be used as it is; a server
        that is away is waited for by each call."""
        ...

    async def stop(self) -> None: ...
