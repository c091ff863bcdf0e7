"""What runs on the runner: a processor reads topics and says what should leave it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from edgeferry.core.record import Outgoing, Record


class Dead(NamedTuple):
    """A record that will never pass, and why. ``sender``: whose records the brake counts
    together; None: those of the same key."""

    record: Record
    error: Exception
    sender: bytes | None = None


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Outputs:
    """What one batch leaves behind. The runner appends all of it to the log in this
    order, waits until it is durable, and only then acknowledges the batch."""

    __slots__ = ("dead", "records")

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.dead: list[Dead] = []


class Processor(Protocol):
    """One Faust App each. ``name`` is the App's id and the consumer group."""

    @property
    def name(self) -> str: ...

    @property
    def chain(self) -> str:
        """For dead letters and metrics; empty where there is none."""
        ...

    @property
    def node(self) -> str: ...

    @property
    def topics(self) -> tuple[str, ...]: ...

    async def process(self, records: Sequence[Record], outputs: Outputs) -> None:
        """Handle a batch: per partition in offset order, of one or more partitions.

        Must be repeatable: nothing may count as done before ``delivered``. A record
        that is bad for good goes to ``outputs.dead``. Raising Later makes the runner
        back off and call again with the same records; any other exception makes it
        split the batch until the record that raises is alone: that becomes a dead letter.
        """
        ...

    async def delivered(self, records: Sequence[Record]) -> None:
        """The outputs of this batch are durable (it may still be repeated after a crash)."""
        ...

    async def assigned(self, committed: Mapping[TopicPartition, int]) -> None:
        """Partitions were (re)assigned, all of them given with the offset that reading
        starts from; comes before the first record. Forget everything held in memory."""
        ...


@runtime_checkable
class MakesFailures(Protocol):
    """A processor whose records have a way to go when what they lead to cannot be kept."""

    def fail(self, record: Record, error: Exception, outputs: Outputs) -> None:
        """Leave what follows from that, which is repeatable, too."""
        ...
