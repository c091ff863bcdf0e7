"""Where a lane goes on: each rule by itself (the simulation has them together)."""

from edgeferry.sync.resume import (
    LogFacts,
    SendMemory,
    Want,
    event_hash,
    offsets_to_check,
    resume,
)

PEER = "cloud-1"
AT_799 = event_hash(b"event 799")
OTHER = event_hash(b"another event")
NOTHING = Want(0, 0, 0)


def test_first_contact_begins_epoch_one_at_the_log_start() -> None:
    begin = resume(None, LogFacts(0, 50), NOTHING, PEER, {})
    assert begin[:3] == (1, 0, 0)


def test_first_contact_reports_what_was_trimmed_before_it() -> None:
    begin = resume(None, LogFacts(20, 50), NOTHING, PEER, {})
    assert begin[:3] == (1, 20, 20)


def test_the_receivers_position_is_the_truth_ahead_of_the_senders_memory() -> None:
    memory = SendMemory(1, 500, PEER)
    begin = resume(memory, LogFacts(0, 900), Want(1, 800, 800, AT_799), PEER, {799: AT_799})
    assert begin[:3] == (1, 800, 0)


def test_the_receivers_position_is_the_truth_behind_the_senders_memory() -> None:
    memory = SendMemory(1, 850, PEER)
    begin = resume(memory, LogFacts(0, 900), Want(1, 800, 800, AT_799), PEER, {799: AT_799})
    assert begin[:3] == (1, 800, 0)


def test_a_position_beyond_the_log_end_starts_a_new_epoch_at_the_own_acked_offset() -> None:
    """An Edge restored from a backup stands at 500 while the Cloud has 800."""
    memory = SendMemory(1, 450, PEER)
    begin = resume(memory, LogFacts(0, 500), Want(1, 800, 800, AT_799), PEER, {})
    assert begin[:3] == (2, 450, 0)


def test_another_event_at_the_position_starts_a_new_epoch() -> None:
    memory = SendMemory(1, 450, PEER)
    begin = resume(memory, LogFacts(0, 900), Want(1, 800, 800, AT_799), PEER, {799: OTHER})
    assert begin[:3] == (2, 450, 0)


def test_another_event_above_the_position_starts_a_new_epoch() -> None:
    """After a crash 799 stands at the Cloud without 700 to 798."""
    memory = SendMemory(1, 450, PEER)
    begin = resume(memory, LogFacts(0, 900), Want(1, 700, 800, AT_799), PEER, {799: OTHER})
    assert begin[:3] == (2, 450, 0)


def test_a_new_epoch_is_above_both_sides_epochs() -> None:
    memory = SendMemory(2, 450, PEER)
    begin = resume(memory, LogFacts(0, 500), Want(7, 800, 800, AT_799), PEER, {})
    assert begin.epoch == 8


def test_a_sender_that_lost_its_memory_takes_up_the_epoch_when_the_event_is_the_same() -> None:
    begin = resume(None, LogFacts(0, 900), Want(3, 800, 800, AT_799), PEER, {799: AT_799})
    assert begin[:3] == (3, 800, 0)


def test_a_receiver_that_lost_its_memory_gets_everything_in_a_new_epoch() -> None:
    memory = SendMemory(3, 800, "cloud-0")
    begin = resume(memory, LogFacts(100, 900), NOTHING, PEER, {})
    assert begin[:3] == (4, 100, 0)


def test_a_position_below_the_log_start_is_a_reported_loss() -> None:
    memory = SendMemory(1, 800, PEER)
    begin = resume(memory, LogFacts(850, 900), Want(1, 800, 800, AT_799), PEER, {})
    assert begin[:3] == (1, 850, 50)


def test_a_log_of_another_identity_starts_a_new_epoch_at_its_start() -> None:
    memory = SendMemory(1, 3, PEER, log_id="old")
    begin = resume(memory, LogFacts(0, 9, "new"), Want(1, 3, 3, AT_799), PEER, {2: OTHER})
    assert begin[:3] == (2, 0, 0)


def test_an_epoch_that_never_reached_the_receiver_is_begun_again_with_its_loss() -> None:
    memory = SendMemory(2, 40, PEER, lost=10)
    begin = resume(memory, LogFacts(45, 90), Want(1, 800, 800, AT_799), PEER, {})
    assert begin[:3] == (2, 45, 15)


def test_only_offsets_that_the_log_holds_are_asked_for() -> None:
    memory = SendMemory(1, 10, PEER)
    assert offsets_to_check(memory, LogFacts(10, 900), Want(1, 800, 820)) == {819}
    assert offsets_to_check(memory, LogFacts(0, 500), Want(1, 800, 820)) == {9}


def test_what_neither_side_knows_any_more_begins_in_the_epoch_that_is_given() -> None:
    """Above those before, whose events the receiver's log still holds."""
    begin = resume(None, LogFacts(0, 50), NOTHING, PEER, {}, first_epoch=1_700_000_000)
    assert begin[:3] == (1_700_000_000, 0, 0)


def test_a_receiver_that_gets_what_it_lost_otherwise_goes_on_where_it_was() -> None:
    memory = SendMemory(3, 800, "cloud-0")
    begin = resume(memory, LogFacts(100, 900), NOTHING, PEER, {}, replays=False)
    assert begin[:3] == (4, 800, 0)


def test_an_older_copy_of_a_receiver_gets_what_it_had_acknowledged_later() -> None:
    memory = SendMemory(3, 850, "cloud-0")
    want = Want(3, 800, 800, AT_799)
    begin = resume(memory, LogFacts(100, 900), want, PEER, {799: AT_799}, replays=False)
    assert begin[:3] == (4, 800, 0)


def test_a_sender_that_knows_only_what_its_log_has_committed_loses_and_repeats_nothing() -> None:
    memory = SendMemory(0, 800, log_id="log")
    trimmed = LogFacts(800, 900, "log")
    begin = resume(memory, trimmed, Want(3, 800, 800, AT_799), PEER, {})
    assert begin[:3] == (4, 800, 0)
