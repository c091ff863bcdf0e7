"""What is remembered of a save whose outcome is unknown, and how much at all."""

from edgeferry.core.ids import new_entity_id
from edgeferry.store.cassandra_cache import (
    NO_TS,
    NOTHING_SENT,
    NOTHING_STORED,
    Cache,
    Entity,
    LatestKey,
    Sent,
    Stored,
)

T = 1_700_000_000_000


def entity_with_latest(stored: Sent = NOTHING_SENT) -> Entity:
    entity = Entity(("DEVICE", new_entity_id()))
    entity.add_latest("v", Stored(stored))
    return entity


def win(latest: LatestKey, ts: int, stamp: int) -> int:
    latest.ts, latest.stamp = ts, stamp
    return latest.take_slot()


def test_writes_of_one_ts_take_rising_slots_and_a_new_ts_begins_again() -> None:
    latest = entity_with_latest().latest["v"]
    assert [win(latest, T, 1), win(latest, T, 2), win(latest, T, 3)] == [0, 1, 2]
    assert win(latest, T + 1, 4) == 0


def test_slots_go_on_after_the_one_that_stands() -> None:
    latest = entity_with_latest(Sent(T, 5, 10)).latest["v"]
    assert win(latest, T, 11) == 6


def test_a_repeat_of_a_failed_write_takes_its_slot_again() -> None:
    entity = entity_with_latest(Sent(T, 5, 10))
    assert win(entity.latest["v"], T, 20) == 6
    entity.forget()
    entity.add_latest("v", Stored(Sent(T, 5, 10)))
    assert win(entity.latest["v"], T, 20) == 6


def test_another_write_never_takes_the_slot_of_a_failed_one() -> None:
    entity = entity_with_latest()
    assert win(entity.latest["v"], T, 20) == 0
    entity.forget()
    entity.add_latest("v", NOTHING_STORED)
    assert win(entity.latest["v"], T, 30) == 1
    entity.forget()
    entity.add_latest("v", NOTHING_STORED)
    entity.forget()
    entity.add_latest("v", NOTHING_STORED)
    assert win(entity.latest["v"], T, 40) == 2


def test_a_failed_write_of_history_still_counts_as_a_row_that_may_stand() -> None:
    entity = Entity(("DEVICE", new_entity_id()))
    entity.add_history(0, "v", NO_TS, NO_TS, True)
    slot = entity.partitions[0]["v"]
    slot.last_ts, slot.top_stamp = T, 50
    entity.forget()
    entity.add_history(0, "v", NO_TS, NO_TS, False)
    again = entity.partitions[0]["v"]
    assert again.last_ts == T
    assert not again.listed
    assert not again.surely_beats(T, 50)
    assert again.surely_beats(T, 51)


def test_rows_from_before_are_beaten_only_by_a_stamp_above_their_bound() -> None:
    entity = Entity(("DEVICE", new_entity_id()))
    entity.add_history(0, "v", T, 1000, True)
    slot = entity.partitions[0]["v"]
    slot.last_ts, slot.top_stamp = T + 5, 10
    assert not slot.surely_beats(T, 11)
    assert slot.surely_beats(T + 3, 11)
    assert not slot.surely_beats(T + 3, 10)
    assert slot.surely_beats(T, 1001)


def test_the_least_recently_used_entities_go_first() -> None:
    cache = Cache(limit=10)
    names = [("DEVICE", new_entity_id()) for _ in range(8)]
    for name in names:
        entity = cache.make(name)
        for key in ("a", "b"):
            entity.add_latest(key, NOTHING_STORED)
        cache.used([entity])
        cache.used([first for first in [cache.find(names[0])] if first])
    assert len(cache) == 10
    assert [name for name in names if cache.find(name)] == [names[0], *names[4:]]


def test_old_partitions_of_an_entity_go() -> None:
    cache = Cache(limit=1000)
    entity = cache.make(("DEVICE", new_entity_id()))
    for partition in range(50):
        entity.add_history(partition, "v", NO_TS, NO_TS, True)
    cache.used([entity])
    assert len(cache) == len(entity.partitions) <= 5
