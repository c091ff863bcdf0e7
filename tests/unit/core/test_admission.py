"""Who refuses what, and until when."""

from edgeferry.core.admission import Admission, Refusal


def test_a_lane_is_taken_until_somebody_refuses_it() -> None:
    admission = Admission()
    assert admission.refusal("telemetry") is None
    admission.refuse("outbox", "telemetry", "full")
    assert admission.refusal("telemetry") == Refusal("outbox", "full")
    assert admission.refusal("general") is None
    assert admission.open


def test_it_is_taken_again_when_all_who_refused_it_admit_it() -> None:
    admission = Admission()
    admission.refuse("outbox", "general", "full")
    admission.refuse("disk", "general", "no room")
    admission.admit("outbox", "general")
    assert admission.refusal("general") == Refusal("disk", "no room")
    admission.admit("disk", "general")
    admission.admit("disk", "general")
    assert admission.refusal("general") is None


def test_nothing_is_open_when_every_lane_is_refused() -> None:
    admission = Admission()
    admission.refuse("disk", "general", "no room")
    admission.refuse("disk", "telemetry", "no room")
    assert not admission.open


def test_refused_messages_are_counted_by_lane() -> None:
    admission = Admission()
    admission.count("telemetry")
    admission.count("telemetry")
    assert admission.refused == {"general": 0, "telemetry": 2}
