"""The intake's filter: each event once, whatever is repeated and whenever."""

from hypothesis import given
from hypothesis import strategies as st

from edgeferry.sync.filter import EventFilter
from edgeferry.sync.recovery import Origin

EDGE = b"e1"


def offer(event_filter: EventFilter, *events: tuple[int, tuple[int, int]]) -> list[int]:
    """Partition offsets of those that pass."""
    event_filter.rewind(events[0][0])
    return [
        at for at, (epoch, number) in events if event_filter.passes(at, Origin(EDGE, epoch, number))
    ]


def test_what_is_not_above_the_last_is_dropped() -> None:
    event_filter = EventFilter({}, 0)
    events = [(0, (1, 5)), (1, (1, 7)), (2, (1, 5)), (3, (1, 7)), (4, (1, 8)), (5, (2, 0))]
    assert offer(event_filter, *events) == [0, 1, 4, 5]


def test_a_late_writer_of_an_older_epoch_is_dropped() -> None:
    event_filter = EventFilter({}, 0)
    assert offer(event_filter, (0, (2, 3)), (1, (1, 900))) == [0]


def test_edges_do_not_mix() -> None:
    event_filter = EventFilter({}, 0)
    assert event_filter.passes(0, Origin(b"e1", 1, 5))
    assert event_filter.passes(1, Origin(b"e2", 1, 5))


def test_the_same_batch_again_before_delivery_gets_the_same_answers() -> None:
    event_filter = EventFilter({}, 0)
    batch = [(0, (1, 5)), (1, (1, 6)), (2, (1, 5))]
    assert offer(event_filter, *batch) == [0, 1]
    assert offer(event_filter, *batch) == [0, 1]
    assert offer(event_filter, batch[1]) == [1]


def test_a_batch_ahead_of_an_undelivered_one_is_judged_after_it() -> None:
    event_filter = EventFilter({}, 0)
    assert offer(event_filter, (0, (1, 5)), (1, (1, 6))) == [0, 1]
    assert offer(event_filter, (2, (1, 6)), (3, (1, 7))) == [3]
    event_filter.delivered(1)
    assert offer(event_filter, (2, (1, 6)), (3, (1, 7))) == [3]


def test_only_what_was_delivered_is_kept() -> None:
    event_filter = EventFilter({}, 0)
    offer(event_filter, (0, (1, 5)), (1, (1, 6)), (2, (1, 7)))
    event_filter.delivered(1)
    assert event_filter.seen == {EDGE: (1, 6)}
    assert event_filter.next_offset == 2


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8)), min_size=1, max_size=30),
    st.lists(st.integers(0, 29), max_size=8),
    st.data(),
)
def test_repeats_and_restarts_change_no_answer(
    origins: list[tuple[int, int]], cuts: list[int], data: st.DataObject
) -> None:
    """Against a filter that sees every record exactly once."""
    reference = EventFilter({}, 0)
    events = list(enumerate(origins))
    expected = set(offer(reference, *events))
    event_filter = EventFilter({}, 0)
    at = 0
    for cut in [*sorted(cut for cut in cuts if cut < len(events)), len(events)]:
        if cut <= at:
            continue
        batch = events[at:cut]
        for _ in range(data.draw(st.integers(1, 3))):
            passed = set(offer(event_filter, *batch))
            assert passed == {offset for offset, _ in batch if offset in expected}
        event_filter.delivered(cut - 1)
        if data.draw(st.booleans()):
            event_filter = EventFilter(event_filter.seen, event_filter.next_offset)
        at = cut
