from edgeferry.streams.brake import (
    DEAD_RATIO,
    MIN_DEAD,
    MIN_ORIGINATORS,
    WINDOW_SECONDS,
    Brake,
)


def _keys(count: int, originators: int) -> list[bytes | None]:
    return [str(i % originators).encode() for i in range(count)]


def test_most_of_it_from_many_originators_pulls() -> None:
    assert Brake().pulled(0, MIN_DEAD, _keys(MIN_DEAD, MIN_ORIGINATORS))


def test_one_failure_less_does_not_pull() -> None:
    assert not Brake().pulled(0, MIN_DEAD, _keys(MIN_DEAD - 1, MIN_ORIGINATORS))


def test_a_few_bad_originators_stop_nobody_however_much_they_send() -> None:
    brake = Brake()
    for second in range(100):
        dead = _keys(1_000, MIN_ORIGINATORS - 1)
        assert not brake.pulled(second, 1_000, dead)


def test_failures_among_much_that_passes_do_not_pull() -> None:
    brake = Brake()
    dead = int(1_000 * DEAD_RATIO) - 1
    for second in range(100):
        assert not brake.pulled(second, 1_000, _keys(dead, 500))


def test_failures_add_up_over_batches() -> None:
    brake = Brake()
    pulled = [brake.pulled(second, 10, _keys(10, 10)) for second in range(19)]
    assert not any(pulled)
    keys: list[bytes | None] = [f"other {i}".encode() for i in range(10)]
    assert brake.pulled(19, 10, keys)


def test_failures_older_than_the_window_are_forgotten() -> None:
    brake = Brake()
    half = MIN_DEAD // 2
    assert not brake.pulled(0, half, _keys(half, 50))
    assert not brake.pulled(WINDOW_SECONDS + 0.001, half, _keys(half, 50))
    assert brake.pulled(2 * WINDOW_SECONDS, half, _keys(half, 50))


def test_a_batch_without_failures_never_pulls() -> None:
    brake = Brake()
    brake.pulled(0, MIN_DEAD - 1, _keys(MIN_DEAD - 1, 50))
    assert not brake.pulled(1, 1, [])


def test_records_without_a_key_are_one_originator() -> None:
    assert not Brake().pulled(0, 1_000, [None] * 1_000)
