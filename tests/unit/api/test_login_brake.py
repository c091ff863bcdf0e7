import pytest

from edgeferry.api import login_brake
from edgeferry.api.errors import TooManyAttempts
from edgeferry.api.login_brake import LoginBrake
from edgeferry.core.clock import ManualClock


def failures(brake: LoginBrake, username: str, address: str, at_most: int = 1000) -> int:
    """How many attempts are let in."""
    for count in range(at_most):
        try:
            brake.admit(username, address)
        except TooManyAttempts:
            return count
    return at_most


def test_a_user_at_one_address_has_ten_guesses_in_five_minutes() -> None:
    clock = ManualClock()
    brake = LoginBrake(clock)
    assert failures(brake, "a", "192.0.2.1") == 10
    assert failures(brake, "A", "192.0.2.1") == 0
    clock.advance(login_brake.WINDOW_SECONDS)
    assert failures(brake, "a", "192.0.2.1") == 10


def test_a_storm_of_guesses_holds_up_nobody_else_behind_the_same_proxy() -> None:
    brake = LoginBrake(ManualClock())
    for i in range(40):
        failures(brake, f"user {i}", "192.0.2.1")
    assert failures(brake, "a", "192.0.2.1") == 10


def test_an_address_that_tries_many_users_is_held_up() -> None:
    brake = LoginBrake(ManualClock())
    let_in = sum(failures(brake, f"user {i}", "192.0.2.1", 1) for i in range(1000))
    assert let_in == login_brake.PER_ADDRESS


def test_a_user_tried_from_many_addresses_is_held_up() -> None:
    brake = LoginBrake(ManualClock())
    let_in = sum(failures(brake, "a", f"192.0.2.{i}", 5) for i in range(100))
    assert let_in == login_brake.PER_USER


def test_a_good_login_leaves_no_trace() -> None:
    brake = LoginBrake(ManualClock())
    for _ in range(1000):
        brake.admit("a", "192.0.2.1")
        brake.succeeded("a", "192.0.2.1")
    assert failures(brake, "a", "192.0.2.1") == 10


def test_one_customers_ipv6_addresses_count_as_one() -> None:
    brake = LoginBrake(ManualClock())
    assert sum(failures(brake, "a", f"2001:db8::{i:x}", 1) for i in range(20)) == 10
    assert failures(brake, "a", "2001:db8:0:1::1") == 10


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login_brake, "_REMEMBERED", 30)
    brake = LoginBrake(ManualClock())
    for i in range(1000):
        brake.admit(f"user {i}", f"198.51.{i // 250}.{i % 250}")
    assert len(brake._counts) <= 30
