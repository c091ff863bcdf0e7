"""The two ends of a lane, and what a receiver finds after a crash."""

import pytest

from edgeferry.sync.flow import ProtocolError, ReceiveLane, SendLane
from edgeferry.sync.recovery import Found, Origin, longest_prefix, origin_of
from edgeferry.sync.resume import Begin, Want


def sender(window: int = 100, in_flight: int = 3) -> SendLane:
    lane = SendLane(batch_bytes=10, in_flight=in_flight)
    lane.begin(Begin(1, 0, 0, ""), Want(1, 0, 0), window)
    return lane


def receiver(offset: int = 0) -> ReceiveLane:
    lane = ReceiveLane(Want(1, offset, offset))
    lane.granted(100)
    return lane


def test_no_more_batches_are_under_way_than_allowed() -> None:
    lane = sender(in_flight=2)
    lane.sent(5, 10, b"", 0)
    assert lane.has_room()
    lane.sent(9, 10, b"", 0)
    assert not lane.has_room()
    lane.ack(1, 5)
    assert lane.has_room()
    assert lane.acked == 5


def test_no_more_bytes_are_under_way_than_the_window() -> None:
    lane = sender(window=25)
    lane.sent(1, 10, b"", 0)
    lane.sent(2, 10, b"", 0)
    assert not lane.has_room()


def test_one_batch_may_go_whatever_its_size_while_the_window_is_open() -> None:
    lane = sender(window=1)
    assert lane.has_room()


def test_a_closed_window_stops_the_lane_until_it_opens() -> None:
    lane = sender()
    lane.credit(0)
    assert not lane.has_room()
    lane.credit(100)
    assert lane.has_room()


def test_acks_are_cumulative() -> None:
    lane = sender()
    for end in (3, 6, 9):
        lane.sent(end, 10, b"%d" % end, end)
    lane.ack(1, 6)
    assert (lane.acked, lane.acked_hash, lane.in_flight, lane.oldest_ms) == (6, b"6", 1, 9)


@pytest.mark.parametrize(("epoch", "offset"), [(2, 3), (1, 4)])
def test_an_ack_of_what_was_not_sent_is_refused(epoch: int, offset: int) -> None:
    lane = sender()
    lane.sent(3, 10, b"", 0)
    with pytest.raises(ProtocolError):
        lane.ack(epoch, offset)


@pytest.mark.parametrize(("epoch", "first", "upto"), [(2, 0, 3), (1, 1, 3), (1, 0, 0)])
def test_a_batch_that_is_not_the_next_one_is_refused(epoch: int, first: int, upto: int) -> None:
    with pytest.raises(ProtocolError):
        receiver().take(epoch, first, upto, 10)


def test_a_sender_that_ignores_the_window_is_refused() -> None:
    lane = receiver()
    lane.take(1, 0, 5, 90)
    with pytest.raises(ProtocolError):
        lane.take(1, 5, 9, 20)


def test_a_receiver_begins_a_new_epoch_or_a_reported_gap_only() -> None:
    assert not receiver(8).begin(Begin(1, 8, 0, ""))
    assert receiver(8).begin(Begin(1, 10, 2, ""))
    assert receiver(8).begin(Begin(2, 3, 0, ""))
    for bad in (Begin(1, 10, 0, ""), Begin(1, 7, 0, ""), Begin(0, 8, 0, "")):
        with pytest.raises(ProtocolError):
            receiver(8).begin(bad)


def test_the_position_after_a_crash_is_the_longest_prefix_never_the_greatest_offset() -> None:
    found = [Found(offset, b"%d" % offset) for offset in (5, 7, 6, 9, 12)]
    assert longest_prefix(Want(1, 5, 5, b"4"), found) == Want(1, 8, 13, b"12")


def test_nothing_found_leaves_the_checkpoint() -> None:
    assert longest_prefix(Want(1, 5, 5, b"4"), []) == Want(1, 5, 5, b"4")


def test_the_hash_told_is_that_of_the_greatest_event_until_the_gap_is_filled() -> None:
    lane = ReceiveLane(Want(1, 5, 13, b"12"))
    lane.granted(100)
    lane.take(1, 5, 10, 10)
    lane.stored(10, 10, b"9")
    assert lane.position == Want(1, 10, 13, b"12")
    lane.take(1, 10, 14, 10)
    lane.stored(14, 10, b"13")
    assert lane.position == Want(1, 14, 14, b"13")


def test_only_the_last_three_headers_tell_an_origin() -> None:
    edge = b"00000000-0000-1000-8000-00000000000a"
    origin = [("edge", edge), ("epoch", b"2"), ("offset", b"30")]
    assert origin_of([("edge", b"forged"), *origin]) == Origin(edge, 2, 30)
    assert origin_of([*origin, ("note", b"replayed")]) is None
    assert origin_of([("edge", edge), ("epoch", b"x"), ("offset", b"30")]) is None
    assert origin_of([]) is None
