"""Thousands of schedules of the whole protocol, each repeatable by its seed."""

import pytest

from tests.unit.sync.simulation import World
from tests.unit.sync.simulation_state import Event, Faults

SEEDS = range(250)
STEPS = 700


def passed_events(world: World) -> list[list[Event]]:
    return [[record.event for record in partition] for partition in world.filtered()]


def assert_order_per_key(world: World) -> None:
    for partition in passed_events(world):
        firsts = list(dict.fromkeys(partition))
        for key in {event.key for event in firsts}:
            numbers = [event.number for event in firsts if event.key == key]
            assert numbers == sorted(numbers)


def assert_log_arrived(world: World) -> None:
    arrived = {event for partition in passed_events(world) for event in partition}
    missing = [event for event in world.edge.log if event not in arrived]
    # Told, not counted: the Cloud's own count goes with its memory.
    assert len(missing) <= world.told_lost


def simulate(seed: int, faults: Faults) -> World:
    world = World(seed, faults)
    world.run(STEPS)
    assert_log_arrived(world)
    assert_order_per_key(world)
    return world


@pytest.mark.parametrize("block", range(10))
def test_crashes_and_broken_connections_leave_each_event_once(block: int) -> None:
    for seed in SEEDS:
        world = simulate(seed * 10 + block, Faults(breaks=40, edge_crashes=30, cloud_crashes=40))
        passed = [event for partition in passed_events(world) for event in partition]
        assert sorted(passed) == world.edge.log
        assert world.told_lost == 0
        assert set(world.epoch_starts) <= {1}


def test_an_edge_restored_from_a_backup_loses_nothing_that_its_log_holds() -> None:
    """Without late writers: events of the log's former life that a paused writer appends
    after the restored Edge has connected cannot be told from those of its new life."""
    for seed in SEEDS:
        simulate(seed, Faults(restores=10, late_writers=False))


def test_a_log_made_anew_is_never_taken_for_the_one_before() -> None:
    for seed in SEEDS:
        simulate(seed, Faults(log_remade=5))


def test_a_cloud_that_lost_its_memory_gets_all_that_the_log_holds_again() -> None:
    for seed in SEEDS:
        simulate(seed, Faults(memory_losses=5))


def test_events_trimmed_before_they_were_sent_are_counted_as_lost() -> None:
    for seed in SEEDS:
        world = simulate(seed, Faults(losing_trims=4, cloud_crashes=0))
        arrived = {event for partition in passed_events(world) for event in partition}
        missing = [event for event in world.edge.log if event not in arrived]
        assert len(missing) == world.lost


@pytest.mark.parametrize("block", range(4))
def test_the_edge_counts_what_it_dropped_exactly_as_the_cloud_counts_it_lost(block: int) -> None:
    """Over crashes of both, with drops in running sessions and between them. Without late
    writers: what they append after the Cloud has counted may be more than it knew."""
    for seed in SEEDS:
        faults = Faults(
            drops=8, losing_trims=2, breaks=40, edge_crashes=20, cloud_crashes=20,
            late_writers=False,
        )  # fmt: skip
        world = simulate(seed * 4 + block, faults)
        assert world.dropped == world.lost


def test_events_dropped_in_a_running_session_are_skipped_and_the_rest_arrives() -> None:
    for seed in SEEDS:
        world = simulate(seed, Faults(drops=8, breaks=0, edge_crashes=0, cloud_crashes=0))
        arrived = {event for partition in passed_events(world) for event in partition}
        missing = [event for event in world.edge.log if event not in arrived]
        assert len(missing) == world.lost == world.dropped


@pytest.mark.parametrize(
    "faults",
    [
        Faults(restores=5, breaks=40, edge_crashes=20, cloud_crashes=30, late_writers=False),
        Faults(memory_losses=3, losing_trims=2, drops=4, log_remade=2, cloud_crashes=30),
    ],
    ids=["edge restored", "cloud memory lost"],
)
def test_everything_at_once(faults: Faults) -> None:
    """But not both: an Edge and a Cloud that have both forgotten an epoch may give its
    number again while its events still stand in the received topic."""
    for seed in SEEDS:
        simulate(seed, faults)


def test_a_lane_down_loses_nothing_and_keeps_the_order() -> None:
    for seed in SEEDS:
        faults = Faults(breaks=40, edge_crashes=30, cloud_crashes=40)
        world = World(seed, faults, down=True)
        world.run(STEPS)
        passed = [event for partition in passed_events(world) for event in partition]
        assert passed == world.edge.log
        assert world.told_lost == 0


def test_a_lane_down_brings_all_again_to_a_receiver_that_lost_its_memory() -> None:
    for seed in SEEDS:
        world = World(seed, Faults(memory_losses=8, losing_trims=8), down=True)
        world.run(STEPS)
        assert_log_arrived(world)
        assert_order_per_key(world)
