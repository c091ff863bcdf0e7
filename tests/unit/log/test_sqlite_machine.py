"""A model of the log against the SQLite log, by random histories: appends of several kinds,
hops, commits, trims, topics deleted and made anew, a tool beside it, restarts and crashes."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import AlreadyCommitted, LogUnavailable
from edgeferry.core.record import Outgoing, Record, Span
from edgeferry.log import sqlite_topics as topics_module
from edgeferry.log.keys import murmur2
from edgeferry.log.sqlite import SqliteLog
from tests.unit.log.sqlite_logs import in_one_transaction, rows_of, topic

T = TypeVar("T")

Together = tuple[Coroutine[Any, Any, Any], Callable[[], None]]
"""What a caller does, and what comes of it in the model."""

COUNTS = {"a": 1, "b": 3}
GROUPS = ("g", "h")

names = st.sampled_from(sorted(COUNTS))
headers = st.lists(st.tuples(st.text(max_size=3), st.binary(max_size=3)), max_size=3)
records = st.lists(
    st.builds(Outgoing, names, st.binary(max_size=3), st.binary(max_size=9), headers), max_size=9
)
fractions = st.floats(0, 1)
steps = st.one_of(
    st.tuples(st.just("append"), records.filter(bool)),
    st.tuples(st.just("drop"), names, st.integers(0, 2), fractions),
    st.tuples(st.just("commit"), st.sampled_from(GROUPS), names, st.integers(0, 2), fractions),
    st.tuples(st.just("delete"), names),
)


@dataclass
class Partition:
    start: int = 0
    rows: list[Outgoing] = field(default_factory=list)
    committed: dict[str, int] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return len(self.rows)

    def between(self, fraction: float) -> int:
        return self.start + round(fraction * (self.end - self.start))


def _outgoing(row: Record) -> Outgoing:
    return Outgoing(row.topic, row.key, row.value or b"", list(row.headers))


def _size(row: Outgoing) -> int:
    encoded = sum(2 + len(name.encode()) + len(value) for name, value in row.headers)
    return len(row.key or b"") + len(row.value) + encoded


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folders = [Path(tempfile.mkdtemp(prefix="log-machine-"))]
        self._model: dict[tuple[str, int], Partition] = {}
        self._start()
        for name in COUNTS:
            self.make(name)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def _start(self) -> None:
        folder, clock = self._folders[-1], ManualClock()
        self._log = SqliteLog(folder=folder, clock=clock)
        self._run(self._log.start())
        self._beside = SqliteLog(folder=folder, clock=clock, owner=False)
        self._run(self._beside.start())

    def _stop(self) -> None:
        self._run(self._beside.stop())
        self._run(self._log.stop())

    def _at(self, name: str, number: int) -> tuple[str, int]:
        return name, number % COUNTS[name]

    def _appended(self, rows: list[Outgoing]) -> None:
        for row in rows:
            number = (murmur2(row.key or b"") & 0x7FFFFFFF) % COUNTS[row.topic]
            self._model[row.topic, number].rows.append(row)

    def _all_known(self, rows: list[Outgoing]) -> bool:
        return all((row.topic, 0) in self._model for row in rows)

    @rule(name=names)
    def make(self, name: str) -> None:
        made = self._run(self._log.ensure([topic(name, COUNTS[name])]))
        assert list(made) == ([] if (name, 0) in self._model else [name])
        for number in range(COUNTS[name]):
            self._model.setdefault((name, number), Partition())

    @precondition(lambda self: len(self._model) == sum(COUNTS.values()))
    @rule(name=names)
    def delete(self, name: str) -> None:
        self._run(self._log.delete([name]))
        for number in range(COUNTS[name]):
            del self._model[name, number]

    @rule(batches=st.lists(records, min_size=1, max_size=3), beside=st.booleans())
    def append(self, batches: list[list[Outgoing]], beside: bool) -> None:
        async def work() -> list[BaseException | None]:
            log = self._beside if beside else self._log
            return await asyncio.gather(*map(log.append, batches), return_exceptions=True)

        for rows, answer in zip(batches, self._run(work()), strict=True):
            if self._all_known(rows):
                assert answer is None
                self._appended(rows)
            else:
                assert isinstance(answer, LogUnavailable)

    @rule(
        rows=records,
        group=st.sampled_from(GROUPS),
        name=names,
        number=st.integers(0, 2),
        begin=fractions,
        end=fractions,
        beside=st.booleans(),
    )
    def hop(
        self,
        rows: list[Outgoing],
        group: str,
        name: str,
        number: int,
        begin: float,
        end: float,
        beside: bool,
    ) -> None:
        at = self._at(name, number)
        partition = self._model.get(at)
        if partition is None or not self._all_known(rows):
            return
        low, high = sorted((partition.between(begin), partition.between(end)))
        log = self._beside if beside else self._log
        work = log.append_and_commit(rows, group, [Span(*at, low, high)])
        committed = partition.committed.get(group, 0)
        if committed > low:
            with pytest.raises(AlreadyCommitted):
                self._run(work)
            return
        self._run(work)
        partition.committed[group] = max(committed, high)
        self._appended(rows)

    @rule(group=st.sampled_from(GROUPS), name=names, number=st.integers(0, 2), to=fractions)
    def commit(self, group: str, name: str, number: int, to: float) -> None:
        at = self._at(name, number)
        partition = self._model.get(at)
        if partition is None:
            return
        offset = partition.between(to)
        self._run(self._log.commit(group, name, {at[1]: offset}))
        partition.committed[group] = max(partition.committed.get(group, 0), offset)

    @rule(name=names, number=st.integers(0, 2), to=fractions)
    def drop(self, name: str, number: int, to: float) -> None:
        at = self._at(name, number)
        partition = self._model.get(at)
        if partition is None:
            return
        below = partition.between(to)
        count = self._run(self._log.drop(name, {at[1]: below}))
        assert count == below - partition.start
        partition.start = below

    @rule(chosen=st.lists(steps, min_size=3, max_size=9))
    def together(self, chosen: list[tuple[Any, ...]]) -> None:
        """What many callers want at once stands in one transaction, in their order."""
        self._together(chosen)

    @rule(rows=records.filter(bool), number=st.integers(0, 2), to=st.floats(0.3, 1))
    def drop_between(self, rows: list[Outgoing], number: int, to: float) -> None:
        """The same where it is likeliest that one undoes what another has begun."""
        name = rows[0].topic
        self._together([("append", rows), ("drop", name, number, to), ("append", rows)])

    def _together(self, chosen: list[tuple[Any, ...]]) -> None:
        works: list[Coroutine[Any, Any, Any]] = []
        effects: list[Callable[[], None]] = []
        for kind, *given in chosen:
            made = getattr(self, f"_{kind}_together")(*given)
            if made is not None:
                works.append(made[0])
                effects.append(made[1])

        async def work() -> list[Any]:
            return await in_one_transaction(self._log, *works)

        for answer in self._run(work()):
            assert not isinstance(answer, BaseException) or isinstance(answer, LogUnavailable)
        for effect in effects:
            effect()

    def _append_together(self, rows: list[Outgoing]) -> Together:
        def effect() -> None:
            if self._all_known(rows):
                self._appended(rows)

        return self._log.append(rows), effect

    def _drop_together(self, name: str, number: int, to: float) -> Together | None:
        at = self._at(name, number)
        if (partition := self._model.get(at)) is None:
            return None
        below = partition.between(to)

        def effect() -> None:
            partition.start = max(partition.start, below)

        return self._log.drop(name, {at[1]: below}), effect

    def _commit_together(self, group: str, name: str, number: int, to: float) -> Together | None:
        at = self._at(name, number)
        if (partition := self._model.get(at)) is None:
            return None
        offset = partition.between(to)

        def effect() -> None:
            partition.committed[group] = max(partition.committed.get(group, 0), offset)

        return self._log.commit(group, name, {at[1]: offset}), effect

    def _delete_together(self, name: str) -> Together | None:
        if (name, 0) not in self._model:
            return None

        def effect() -> None:
            for number in range(COUNTS[name]):
                self._model.pop((name, number), None)

        return self._log.delete([name]), effect

    @rule()
    def restart(self) -> None:
        self._stop()
        self._start()

    @rule()
    def crash(self) -> None:
        """What the disk has at this moment is all that is left."""
        left = Path(tempfile.mkdtemp(prefix="log-machine-"))
        for name in ("log.db", "log.db-wal"):
            shutil.copy(self._folders[-1] / name, left / name)
        self._stop()
        self._folders.append(left)
        self._start()

    @invariant()
    def the_log_is_as_the_model(self) -> None:
        self._run(self._log.ping())  # notices what the tool has written
        for log in (self._log, self._beside):
            assert set(self._run(log.partitions())) == {name for name, _ in self._model}
            for at, partition in self._model.items():
                assert log.bounds(*at) == (partition.start, partition.end)
                held = partition.rows[partition.start :]
                found = rows_of(log, *at)
                assert [
                    Outgoing(r.topic, r.key, r.value or b"", list(r.headers)) for r in found
                ] == held
                assert [row.offset for row in found] == list(range(partition.start, partition.end))
                assert self._run(log.held_bytes(*at, partition.start)) == sum(map(_size, held))
            for group in GROUPS:
                assert dict(log.group_offsets(group)) == {
                    at: partition.committed[group]
                    for at, partition in self._model.items()
                    if group in partition.committed
                }

    def teardown(self) -> None:
        self._stop()
        self._runner.close()
        for folder in self._folders:
            shutil.rmtree(folder)


def test_the_log_is_always_as_its_model(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(topics_module, "ROWS_PER_TRIM", 3)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert caplog.records == []  # no transaction had to be taken apart
