"""What the owner of a key remembers about the rows that stand in Cassandra.

Bounded; everything here can be read again from the server. A failed save leaves its outcome
unknown: its entities are forgotten, but what was tried is kept beside them, so that a write
still on its way can never meet another one of the same timestamp.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from edgeferry.core.merge import LATEST_SLOTS, Deletion, latest_timestamp
from edgeferry.store.cassandra_rows import long_field, text_field
from edgeferry.store.partitions import Window
from edgeferry.store.values import MAX_KEY_BYTES, entity_uuid, key_bytes, text_bytes

UNKNOWN_STAMP: Final = 2**63
"""Greater than any stamp: no write wins against it without asking the server."""

NO_TS: Final = -1
PARTITIONS_PER_ENTITY = 4

EntityKey = tuple[str, str]


class Sent(NamedTuple):
    """A latest row that stands, or may stand: the slot makes its timestamp."""

    ts: int
    slot: int
    stamp: int


NOTHING_SENT: Final = Sent(NO_TS, 0, NO_TS)


class Stored(NamedTuple):
    """What was read of a latest row; see LatestKey."""

    sent: Sent = NOTHING_SENT
    floor: int = NO_TS
    deletions: tuple[Deletion, ...] = ()


NOTHING_STORED: Final = Stored()


class HistoryKey:
    """One (entity, key, partition) of ts_kv_cf.

    last_ts: no row stands above it. Of the rows up to ``old_ts``, which stood before, no
    stamp is above ``old_stamp``; of those above it none is above ``top_stamp``. listed: its
    row in ts_kv_partitions_cf is acknowledged."""

    __slots__ = ("last_ts", "listed", "old_stamp", "old_ts", "prefix", "top_stamp")

    def __init__(self, prefix: bytes, old_ts: int, old_stamp: int, listed: bool) -> None:
        self.prefix = prefix
        self.last_ts = self.old_ts = old_ts
        self.top_stamp = NO_TS
        self.old_stamp = old_stamp
        self.listed = listed

    def surely_beats(self, ts: int, stamp: int) -> bool:
        """Whether no row at this ts can have a stamp as great."""
        return stamp > self.top_stamp and (ts > self.old_ts or stamp > self.old_stamp)


class LatestKey:
    """One row of ts_kv_latest_cf: who won so far, and the row that was last sent.

    floor: a timestamp that stands or may stand although its ts does not make it, since a
    delete put an older value, or none, in the place of a newer one."""

    __slots__ = ("deletions", "floor", "prefix", "sent", "stamp", "tried", "ts")

    def __init__(self, prefix: bytes, stored: "Stored", tried: Sent) -> None:
        self.prefix = prefix
        self.floor = stored.floor
        self.deletions = stored.deletions
        stored_row = stored.sent
        self.ts = stored_row.ts
        self.stamp = stored_row.stamp
        self.sent = stored_row
        self.tried = tried

    def take_slot(self) -> int:
        """A slot for the winner that no other write of its ts has or may have."""
        ts, stamp = self.ts, self.stamp
        slot = self.sent.slot + 1 if self.sent.ts == ts else 0
        if self.tried.ts == ts:
            again = self.tried.stamp == stamp
            slot = max(slot, self.tried.slot if again else self.tried.slot + 1)
        if slot < LATEST_SLOTS:
            self.sent = Sent(ts, slot, stamp)
        return slot

    def timestamp(self, slot: int) -> int:
        """The write timestamp of the winner in this slot: above all that stands."""
        timestamp = latest_timestamp(self.ts, slot)
        if timestamp <= self.floor:
            timestamp = self.floor = self.floor + 1
        return timestamp


HistoryKeys = dict[str, HistoryKey]


class Entity:
    """The keys of one entity, history by partition; ``window`` is the last one used."""

    __slots__ = ("key", "latest", "partitions", "prefix", "tried_history", "tried_latest", "window")

    def __init__(self, key: EntityKey) -> None:
        entity_type, entity_id = key
        self.key = key
        self.prefix = entity_prefix(entity_type, entity_id)
        self.window = Window(0, 0)
        self.partitions: dict[int, HistoryKeys] = {}
        self.latest: dict[str, LatestKey] = {}
        self.tried_history: dict[tuple[int, str], HistoryKey] = {}
        self.tried_latest: dict[str, LatestKey] = {}

    @property
    def size(self) -> int:
        return len(self.latest) + sum(map(len, self.partitions.values()))

    def add_history(
        self, partition: int, key: str, old_ts: int, old_stamp: int, listed: bool
    ) -> None:
        tried = self.tried_history.pop((partition, key), None)
        if tried is not None:
            old_ts = max(old_ts, tried.last_ts)
            old_stamp = max(old_stamp, tried.old_stamp, tried.top_stamp)
        prefix = self.prefix + text_field(key_bytes(key)) + long_field(partition)
        slots = self.partitions.setdefault(partition, {})
        slots[key] = HistoryKey(prefix, old_ts, old_stamp, listed)

    def add_latest(self, key: str, stored: Stored) -> None:
        before = self.tried_latest.pop(key, None)
        tried = NOTHING_SENT
        if before is not None:
            tried = max(before.sent, before.tried)
            stored = stored._replace(floor=max(stored.floor, before.floor))
        prefix = self.prefix + text_field(key_bytes(key))
        self.latest[key] = LatestKey(prefix, stored, tried)

    def forget(self) -> None:
        """The outcome of a save is unknown: keep only what was tried."""
        for partition, slots in self.partitions.items():
            for key, slot in slots.items():
                self.tried_history[partition, key] = slot
        self.tried_latest.update(self.latest)
        self.partitions.clear()
        self.latest.clear()

    def trim(self) -> None:
        """Drop the oldest partitions beyond a few."""
        for partition in list(self.partitions)[:-PARTITIONS_PER_ENTITY]:
            if partition != self.window.start:
                del self.partitions[partition]


def entity_prefix(entity_type: str, entity_id: str) -> bytes:
    """The encoded start of every key. Raises Unstorable for an impossible id."""
    kind = text_bytes(entity_type, MAX_KEY_BYTES)
    return text_field(kind) + text_field(entity_uuid(entity_id).bytes)


class Cache:
    """Entities by last use, at most about ``limit`` keys (one per key and partition)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entities: OrderedDict[EntityKey, Entity] = OrderedDict()
        self._sizes: dict[EntityKey, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    @property
    def find(self) -> Callable[[EntityKey], Entity | None]:
        """The look-up itself, for loops that are hot."""
        return self._entities.get

    def make(self, key: EntityKey) -> Entity:
        """The entity, made if need be. Raises Unstorable for an impossible id."""
        entity = self._entities.get(key)
        if entity is None:
            entity = self._entities[key] = Entity(key)
        return entity

    def used(self, entities: Iterable[Entity]) -> None:
        """Note the use and drop the least recently used above the limit."""
        for entity in entities:
            key = entity.key
            if self._entities.get(key) is not entity:
                continue
            self._entities.move_to_end(key)
            entity.trim()
            size = entity.size
            self._total += size - self._sizes.get(key, 0)
            self._sizes[key] = size
        while self._total > self._limit and len(self._entities) > 1:
            key, _ = self._entities.popitem(last=False)
            self._total -= self._sizes.pop(key, 0)

    def clear(self) -> None:
        self._entities.clear()
        self._sizes.clear()
        self._total = 0
