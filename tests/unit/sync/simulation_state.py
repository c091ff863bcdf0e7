"""What there is in the simulated world of the sync protocol: both ends and the network."""

import random
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeferry.sync.dropped import DropLedger
from edgeferry.sync.flow import ReceiveLane, SendLane
from edgeferry.sync.resume import (
    SendMemory,
    Want,
    event_hash,
)

PARTITIONS = 3
KEYS = 5
EDGE = b"edge"


class Event(NamedTuple):
    number: int
    key: int

    @property
    def hash(self) -> bytes:
        return event_hash(b"%d" % self.number)


class Received(NamedTuple):
    event: Event
    epoch: int
    offset: int


class Batch(NamedTuple):
    epoch: int
    from_offset: int
    events: tuple[Event, ...]


@dataclass
class Connection:
    """Two ordered streams. What stands in them when it breaks is gone."""

    up: deque[object] = field(default_factory=deque)
    down: deque[object] = field(default_factory=deque)
    broken: bool = False


@dataclass
class Edge:
    """Durable: log, start, memory, ledger, committed. The rest dies in a crash."""

    log: list[Event] = field(default_factory=list)
    start: int = 0
    memory: SendMemory | None = None
    ledger: DropLedger = field(default_factory=DropLedger)
    committed: int = 0
    begun_at: int = 0
    connection: Connection | None = None
    lane: SendLane | None = None
    pending: SendMemory | None = None


@dataclass
class Cloud:
    """Durable: topic, checkpoint, incarnation. The rest dies in a crash."""

    topic: list[list[Received]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    checkpoint: tuple[Want, list[int], bool] | None = None
    lost_kept: int = 0
    lost: int = 0
    incarnation: str = "c0"
    connection: Connection | None = None
    lane: ReceiveLane | None = None
    begun: bool = False
    opened: bool = False
    queue: deque[Batch] = field(default_factory=deque)
    appending: list[deque[Received]] | None = None
    append_ends: tuple[int, bytes, int] = (0, b"", 0)
    waiting: Connection | None = None


@dataclass
class Faults:
    """How often each happens, in steps of a thousand."""

    breaks: int = 20
    edge_crashes: int = 10
    cloud_crashes: int = 10
    restores: int = 0
    memory_losses: int = 0
    losing_trims: int = 0
    drops: int = 0
    log_remade: int = 0
    late_writers: bool = True


class Scene:
    def __init__(self, seed: int, faults: Faults, *, down: bool = False) -> None:
        """``down``: a lane down, whose log, the Edge queue, has no identity of its own and whose
        receiver's topic has one partition. (The sender is called edge nevertheless.)"""
        self.random = random.Random(seed)
        self.faults = faults
        self.edge = Edge()
        self.partitions = 1 if down else PARTITIONS
        self.cloud = Cloud(topic=[[] for _ in range(self.partitions)])
        self.created = 0
        self.zombies: list[deque[Received]] = []
        self.backup: tuple[list[Event], int, SendMemory | None, int, str] | None = None
        self.logs_made = 0
        self.told_lost = 0
        self.log_id = "" if down else "log0"
        self.epoch_starts: dict[int, int] = {}
        self.incarnation_told = ""
