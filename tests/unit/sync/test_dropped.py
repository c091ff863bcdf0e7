"""The ledger of drops; the simulation proves it whole, here are its single steps."""

from edgeferry.sync.dropped import DropLedger, Told
from edgeferry.sync.resume import Begin, LogFacts, Want

LOG = LogFacts(0, 100, "log")


def at(start: int) -> LogFacts:
    return LOG._replace(start=start)


def test_events_that_the_receiver_has_are_not_counted() -> None:
    assert DropLedger().dropping(acked=30, below=50, log=LOG).total == 20
    assert DropLedger().dropping(acked=60, below=50, log=LOG).total == 0


def test_an_ack_that_was_under_way_corrects_the_count() -> None:
    dropped = DropLedger().dropping(30, 50, LOG)
    assert dropped.acked(1, begun_at=0, offset=42).total == 8
    assert dropped.acked(1, begun_at=0, offset=90).total == 0


def test_a_drop_that_was_noted_and_not_done_is_taken_back() -> None:
    noted = DropLedger().dropping(30, 50, LOG)
    assert noted.standing(at(0)).total == 0
    assert noted.standing(at(45)).total == 15
    assert noted.standing(at(50)).total == 20


def test_drops_one_after_the_other_are_one_range() -> None:
    ledger = DropLedger().dropping(30, 50, LOG).dropping(30, 70, at(50))
    assert (ledger.first, ledger.below, ledger.total) == (30, 70, 40)


def test_what_is_told_again_is_counted_once() -> None:
    begin = Begin(1, 50, 20, "")
    told = DropLedger().dropping(30, 50, LOG).resumed(Want(1, 30, 30), begin, at(50))
    again = told.resumed(Want(1, 30, 30), begin, at(50))
    assert (told.total, again.total, again.told) == (20, 20, (Told(1, 50, 20),))


def test_what_was_told_and_taken_is_settled() -> None:
    told = DropLedger().resumed(Want(1, 30, 30), Begin(1, 50, 20, ""), at(50))
    assert told.acked(1, begun_at=50, offset=50).settled == 0
    assert told.acked(1, begun_at=50, offset=51).settled == 20
    assert told.resumed(Want(1, 50, 50), Begin(1, 50, 0, ""), at(50)).settled == 20


def test_the_receivers_position_corrects_the_count() -> None:
    dropped = DropLedger().dropping(30, 50, LOG)
    assert dropped.resumed(Want(1, 44, 44), Begin(1, 50, 6, ""), at(50)).total == 6


def test_a_log_made_anew_keeps_the_count_of_the_one_before() -> None:
    dropped = DropLedger().dropping(30, 50, LOG)
    other = dropped.standing(LogFacts(0, 0, "other"))
    assert (other.total, other.untold) == (20, 0)


def test_it_is_kept_as_text() -> None:
    ledger = DropLedger(3, (Told(1, 50, 20), Told(1, 60, 2)), 70, 80, "log")
    assert DropLedger.unpack(ledger.pack()) == ledger
