import asyncio
import logging
from collections.abc import Sequence

import pytest

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.errors import (
    InvalidPayload,
    LogUnavailable,
    RecordTooLarge,
    Refused,
    Stop,
    StoreUnavailable,
    Undecodable,
)
from edgeferry.core.record import Headers, Record
from edgeferry.streams import worker as worker_module
from edgeferry.streams.brake import MIN_DEAD
from edgeferry.streams.processor import Dead, Outputs, TopicPartition
from edgeferry.streams.worker import Braked
from tests.unit.streams.fakes import (
    NOW_MS,
    P0,
    TOPIC,
    Bench,
    Hook,
    batch,
    record,
    records,
)

pytestmark = pytest.mark.asyncio

BUG = "a record raised"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries come without a pause."""
    monkeypatch.setattr(worker_module, "BACKOFF_FIRST_SECONDS", 0.0)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each pause would have been."""
    taken: list[float] = []

    async def sleep(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return taken


def _raising(error: Exception, *offsets: int) -> Hook:
    async def before(rows: Sequence[Record]) -> None:
        if any(row.offset in offsets for row in rows):
            raise error

    return before


def _failing(error: Exception, times: int) -> Hook:
    left = iter(range(times))

    async def before(rows: Sequence[Record]) -> None:
        if next(left, None) is not None:
            raise error

    return before


async def test_outputs_are_durable_then_the_processor_knows_then_the_batch_is_done() -> None:
    bench = Bench()
    seen: list[tuple[int, list[int], bool]] = []
    made = batch(*records(0, 3))

    async def append(rows: Sequence[object]) -> None:
        seen.append((len(rows), list(bench.processor.delivered_offsets), made.done))

    bench.writer.append = append  # type: ignore[assignment, method-assign]
    await bench.worker.run(made)
    assert seen == [(3, [], False)]
    assert bench.processor.delivered_offsets == [0, 1, 2]
    assert (made.running, made.done) == (False, True)


async def test_a_batch_is_reported_with_its_times() -> None:
    bench = Bench()

    async def before(rows: Sequence[Record]) -> None:
        bench.clock.advance(1.5)

    bench.processor.before = before
    await bench.run(record(0), record(1, timestamp=NOW_MS - 500))
    ((records_in, records_out, seconds, age),) = bench.metrics.batches
    assert (records_in, records_out, seconds) == (2, 2, 1.5)
    assert age == pytest.approx(2.0)


class TestLater:
    async def test_a_store_that_is_away_backs_off_longer_each_time(
        self, pauses: list[float]
    ) -> None:
        bench = Bench(_failing(StoreUnavailable("away"), 8))
        made = await bench.run(*records(0, 3))
        assert made.done
        assert bench.processor.tried == [[0, 1, 2]] * 9
        assert bench.passed_on() == [0, 1, 2]
        assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        assert bench.metrics.retries == 8
        assert bench.letters() == []

    async def test_a_log_that_is_away_gets_the_same_outputs_again(
        self, pauses: list[float]
    ) -> None:
        bench = Bench()
        bench.writer.errors = [LogUnavailable("away"), LogUnavailable("away")]
        made = await bench.run(*records(0, 3))
        assert made.done
        assert bench.processor.tried == [[0, 1, 2]]
        assert bench.passed_on() == [0, 1, 2]
        assert pauses == [0.1, 0.2]

    async def test_what_is_retried_is_told_while_it_lasts(self, at_once: None) -> None:
        bench = Bench(_failing(StoreUnavailable("Cassandra is away"), 2))
        told = []

        async def before(rows: Sequence[Record], inner: Hook = bench.processor.before) -> None:
            told.append(bench.worker.retrying)
            await inner(rows)

        bench.processor.before = before
        await bench.run(*records(0, 3))
        assert told == ["", "Cassandra is away", "Cassandra is away"]
        assert bench.worker.retrying == ""

    async def test_nothing_of_a_failed_try_is_left(self, at_once: None) -> None:
        bench = Bench()
        tries = 0

        async def process(rows: Sequence[Record], outputs: Outputs) -> None:
            nonlocal tries
            tries += 1
            outputs.dead.append(Dead(rows[0], Undecodable(f"try {tries}")))
            if tries < 3:
                raise StoreUnavailable("away")

        bench.processor.process = process  # type: ignore[assignment, method-assign]
        await bench.run(record(0))
        assert [letter.error_text for letter in bench.letters()] == ["try 3"]

    @pytest.mark.parametrize("where", ["process", "append", "assigned"])
    async def test_a_retry_ends_when_the_partitions_go_away(self, where: str) -> None:
        bench = Bench()
        made = batch(*records(0, 3), assigned={P0: 0})
        away = [LogUnavailable("away")] * 1_000
        if where == "process":
            bench.processor.before = _failing(StoreUnavailable("away"), 1_000)
        elif where == "append":
            bench.writer.errors = list[Exception](away)
        else:
            bench.processor.assigned_errors = list[Exception](away)
        running = asyncio.create_task(bench.worker.run(made))
        while not bench.worker.retrying:
            await asyncio.sleep(0)
        made.abandoned = True
        await asyncio.wait_for(running, 5)
        assert not made.done
        assert bench.worker.retrying == ""
        assert bench.writer.appended == []
        assert bench.processor.delivered_offsets == []

    async def test_a_batch_that_was_abandoned_before_is_not_begun(self) -> None:
        bench = Bench()
        made = batch(*records(0, 3))
        made.abandoned = True
        await bench.worker.run(made)
        assert (made.running, made.done) == (False, False)
        assert bench.processor.tried == []


class TestNever:
    @pytest.mark.parametrize("bad", range(7))
    async def test_the_record_that_raises_is_found_and_the_others_keep_their_order(
        self, bad: int
    ) -> None:
        bench = Bench(_raising(InvalidPayload("no"), bad))
        made = await bench.run(*records(0, 7))
        assert made.done
        assert bench.passed_on() == [offset for offset in range(7) if offset != bad]
        assert [letter.offset for letter in bench.letters()] == [bad]
        assert bench.processor.delivered_offsets == list(range(7))
        assert bench.metrics.dead_letters == 1

    async def test_records_that_all_raise_all_become_dead_letters_in_order(self) -> None:
        bench = Bench(_raising(InvalidPayload("no"), *range(9)))
        await bench.run(*records(0, 9))
        assert bench.passed_on() == []
        assert [letter.offset for letter in bench.letters()] == list(range(9))

    async def test_a_bug_costs_the_one_record_and_is_logged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench = Bench(_raising(ZeroDivisionError("a bug"), 2))
        with caplog.at_level(logging.ERROR):
            await bench.run(*records(0, 4))
        assert bench.passed_on() == [0, 1, 3]
        assert [letter.error_class for letter in bench.letters()] == ["ZeroDivisionError"]
        assert BUG in caplog.text

    async def test_a_bad_record_is_no_news_for_the_log(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        await Bench(_raising(InvalidPayload("no"), 2)).run(*records(0, 4))
        assert caplog.text == ""

    async def test_a_store_that_goes_away_while_splitting_repeats_the_whole_batch(
        self, at_once: None
    ) -> None:
        answers = iter([InvalidPayload("no"), None, StoreUnavailable("away")])

        async def before(rows: Sequence[Record]) -> None:
            error = next(answers, None)
            if error is not None:
                raise error

        bench = Bench(before)
        await bench.run(*records(0, 4))
        assert bench.processor.tried == [[0, 1, 2, 3], [0, 1], [2, 3], [0, 1, 2, 3]]
        assert bench.passed_on() == [0, 1, 2, 3]

    async def test_a_dead_letter_has_the_whole_record_its_address_and_its_story(
        self, at_once: None
    ) -> None:
        tries = iter([StoreUnavailable("away"), StoreUnavailable("away")])
        bench = Bench()

        async def before(rows: Sequence[Record]) -> None:
            bench.clock.advance(2)
            raise next(tries, InvalidPayload("x" * 5_000))

        bench.processor.before = before
        row = record(7, 3, key=b"device-1", value=b"\x00\xff")._replace(
            headers=(("traceparent", b"00-1"), ("type", b"T"))
        )
        await bench.run(row)
        (letter,) = bench.letters()
        assert letter == DeadLetter(
            key=b"device-1",
            value=b"\x00\xff",
            headers=(("traceparent", b"00-1"), ("type", b"T")),
            topic=TOPIC,
            partition=3,
            offset=7,
            site="edge",
            chain="chain",
            node="node",
            error_class="InvalidPayload",
            error_text="x" * 2_000,
            first_failure=NOW_MS,
            last_failure=NOW_MS + 6_000,
            attempts=3,
        )
        assert bench.writer.appended[-1].key == b"device-1"

    async def test_a_record_without_key_and_value_can_die_too(self) -> None:
        bench = Bench(_raising(InvalidPayload("no"), 0))
        await bench.run(record(0)._replace(key=None, value=None))
        (letter,) = bench.letters()
        assert (letter.key, letter.value) == (None, None)

    async def test_no_header_keeps_a_record_from_its_dead_letter(
        self,
    ) -> None:
        bench = Bench(_raising(InvalidPayload("no"), 1))
        headers: Headers = [("type", b"T"), ("h", None)]  # type: ignore[list-item]
        made = await bench.run(record(0), record(1)._replace(headers=headers), record(2))
        assert made.done
        assert bench.passed_on() == [0, 2]
        (letter,) = bench.letters()
        assert (letter.offset, letter.headers) == (1, ())
        assert letter.error_text == "no (its headers cannot be kept)"

    async def test_no_text_keeps_an_error_from_its_dead_letter(self) -> None:
        bench = Bench(_raising(InvalidPayload("no \ud800"), 0))
        await bench.run(record(0))
        (letter,) = bench.letters()
        assert letter.error_text == "no \\ud800"

    async def test_outputs_and_dead_letters_are_one_append(self) -> None:
        bench = Bench(_raising(InvalidPayload("no"), 1))
        bench.writer.errors = []
        calls: list[int] = []
        append = bench.writer.append

        async def counting(rows: Sequence[object]) -> None:
            calls.append(len(rows))
            await append(rows)  # type: ignore[arg-type]

        bench.writer.append = counting  # type: ignore[assignment, method-assign]
        await bench.run(*records(0, 4))
        assert calls == [4]


class TestStop:
    async def test_a_stop_goes_up_and_nothing_is_done(self) -> None:
        bench = Bench(_raising(Stop("wrong setting"), 2))
        made = batch(*records(0, 4))
        with pytest.raises(Stop, match="wrong setting"):
            await bench.worker.run(made)
        assert not made.done
        assert bench.writer.appended == []

    async def test_what_the_log_refuses_in_spite_of_its_size_stops_and_says_who_made_it(
        self,
    ) -> None:
        bench = Bench()
        bench.writer.errors = [RecordTooLarge("2 MB")]
        made = batch(*records(0, 4))
        with pytest.raises(Stop, match=r"edge\.chain\.node made a record that is too large: 2 MB"):
            await bench.worker.run(made)
        assert not made.done

    async def test_the_brake_stops_after_the_batch_is_done(self) -> None:
        bench = Bench(_raising(InvalidPayload("a bad deployment"), *range(MIN_DEAD)))
        made = batch(*records(0, MIN_DEAD))
        with pytest.raises(Braked, match=r"edge\.chain\.node stopped.*a bad deployment.*replay"):
            await bench.worker.run(made)
        assert made.done
        assert len(bench.letters()) == MIN_DEAD
        assert bench.metrics.dead_letters == MIN_DEAD

    async def test_what_senders_may_not_do_never_pulls_the_brake(self) -> None:
        bench = Bench(_raising(Refused("not yours"), *range(MIN_DEAD)))
        made = batch(*records(0, MIN_DEAD))
        await bench.worker.run(made)
        assert made.done
        assert len(bench.letters()) == MIN_DEAD


async def test_a_record_that_leads_to_one_too_large_for_the_log_dies_alone() -> None:
    bench = Bench()
    bench.writer.max_record_bytes = 10
    made = await bench.run(*records(0, 2), record(2, value=b"2" * 11), *records(3, 6))
    assert made.done
    assert bench.passed_on() == [0, 1, 3, 4, 5]
    (letter,) = bench.letters()
    assert (letter.offset, letter.error_class) == (2, "RecordTooLarge")
    assert letter.error_text == ("a record of 11 bytes for edge.out is above the limit of 10 bytes")


class TestAssigned:
    async def test_the_processor_hears_of_its_partitions_before_the_first_record(self) -> None:
        bench = Bench()
        heard: list[int] = []

        async def before(rows: Sequence[Record]) -> None:
            heard.append(len(bench.processor.assigned_with))

        bench.processor.before = before
        await bench.worker.run(batch(record(0), assigned={P0: 7}))
        await bench.run(record(1))
        assert bench.processor.assigned_with == [{TopicPartition(TOPIC, 0): 7}]
        assert heard == [1, 1]

    async def test_assigned_is_repeated_until_it_passes(self, pauses: list[float]) -> None:
        bench = Bench()
        bench.processor.assigned_errors = [StoreUnavailable("away")] * 3
        await bench.worker.run(batch(record(0), assigned={P0: 7}))
        assert len(bench.processor.assigned_with) == 1
        assert bench.processor.tried == [[0]]
        assert pauses == [0.1, 0.2, 0.4]
