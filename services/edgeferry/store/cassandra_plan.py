"""From a micro-batch of writes to rows: who wins, with which timestamp, in which form.

No I/O here. What the cache cannot decide is left as questions, answered by the stored
stamps of exactly those rows.

The rules (contracts, section 3): history is written USING TIMESTAMP = stamp, with one column
where no row can stand at its ts yet, else with nulls in the other columns. A stamp that is
not above every stored one might meet a row of a greater stamp that left columns unset: it is
written only after asking. Latest is written with nulls USING TIMESTAMP = ts in microseconds
plus a slot, which tells apart the writes of one millisecond.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeferry.core.errors import Unstorable
from edgeferry.core.merge import (
    LATEST_SLOTS,
    history_deleted,
    latest_deleted,
    newest_allowed_for_latest,
    wins_latest,
)
from edgeferry.core.node import TimeseriesWrite
from edgeferry.store.cassandra_cache import (
    NO_TS,
    UNKNOWN_STAMP,
    Entity,
    HistoryKey,
    HistoryKeys,
    LatestKey,
)
from edgeferry.store.cassandra_rows import int_field, long_field, only, value_field
from edgeferry.store.cassandra_statements import WriteStatements


class Target(NamedTuple):
    """Where one write goes; ``keys`` is empty when history is not wanted."""

    entity: Entity
    partition: int
    keys: HistoryKeys


class Question(NamedTuple):
    """A value whose fate hangs on the stamp stored at its (entity, key, partition, ts)."""

    entity: Entity
    partition: int
    key: str
    write: TimeseriesWrite
    history: HistoryKey | None
    latest: LatestKey | None
    kind: int
    cell: bytes

    @property
    def place(self) -> "Place":
        return Place(self.entity, self.partition, self.key, self.write.ts)


class Place(NamedTuple):
    """One row of ts_kv_cf."""

    entity: Entity
    partition: int
    key: str
    ts: int


Newest = tuple[int, int, bytes]
"""ts, kind and cell of a latest row to write."""


@dataclass(slots=True)
class Plan:
    """The rows of one save, grouped by partition, and what it touches."""

    entities: dict[Entity, None] = field(default_factory=dict)
    history: dict[HistoryKey, list[bytes]] = field(default_factory=dict)
    newest: dict[LatestKey, Newest] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    unlisted: list[HistoryKey] = field(default_factory=list)
    future_values: int = 0
    latest_full: int = 0


class Planner:
    def __init__(self, statements: WriteStatements) -> None:
        self._statements = statements

    def plan(
        self, plan: Plan, writes: Sequence[TimeseriesWrite], targets: Sequence[Target], now_ms: int
    ) -> None:
        """Decide all writes; ``targets`` runs beside them, and all they need is loaded.

        Raises Unstorable with the write's index; the plan is then of no use, and its
        entities have to be forgotten."""
        limit = newest_allowed_for_latest(now_ms)
        touched = plan.entities
        for index, (write, target) in enumerate(zip(writes, targets, strict=True)):
            touched[target.entity] = None
            try:
                self._plan_one(plan, write, target, limit)
            except Unstorable as error:
                raise Unstorable(str(error), index) from None

    def _plan_one(self, plan: Plan, write: TimeseriesWrite, target: Target, limit: int) -> None:
        entity, partition, histories = target
        _, _, ts, stamp, values, ttl, into_history, into_latest = write
        if into_latest and ts > limit:
            plan.future_values += len(values)
            into_latest = False
        at, end = long_field(ts), long_field(stamp)
        heads = self._statements.one_column
        if ttl:
            end += int_field(ttl)
            heads = self._statements.one_column_ttl
        latests = entity.latest
        rows, newest = plan.history, plan.newest
        join = b"".join
        for key, value in values.items():
            kind, cell = value_field(value)
            known = latests[key]
            history: HistoryKey | None = None
            latest: LatestKey | None = None
            keep, show = into_history, into_latest
            if known.deletions:
                keep = keep and not history_deleted(known.deletions, ts, stamp)
                show = show and not latest_deleted(known.deletions, ts, stamp)
            if keep:
                slot = histories[key]
                if ts > slot.last_ts:
                    slot.last_ts = ts
                    if stamp > slot.top_stamp:
                        slot.top_stamp = stamp
                    row = join((heads[kind], slot.prefix, at, cell, end))
                    if slot in rows:
                        rows[slot].append(row)
                    else:
                        rows[slot] = [row]
                elif slot.surely_beats(ts, stamp):
                    slot.top_stamp = stamp
                    self._add_all_columns(plan, slot, write, kind, cell)
                else:
                    history = slot
            if show:
                if ts > known.ts or (ts == known.ts and stamp > known.stamp):
                    known.ts, known.stamp = ts, stamp
                    newest[known] = (ts, kind, cell)
                elif ts == known.ts and known.stamp == UNKNOWN_STAMP:
                    latest = known
            if history is not None or latest is not None:
                plan.questions.append(
                    Question(entity, partition, key, write, history, latest, kind, cell)
                )

    def answer(
        self, plan: Plan, writes: Sequence[TimeseriesWrite], stored: dict[Place, int]
    ) -> None:
        """Decide the questions; ``stored`` has the stamps of the rows that stand."""
        best = _best_of(plan.questions, writes)
        for question in plan.questions:
            stamp = question.write.stamp
            known = stored.get(question.place, NO_TS)
            slot = question.history
            if slot is not None and stamp > known and best[question.place] is question.write:
                self._add_all_columns(plan, slot, question.write, question.kind, question.cell)
            if question.latest is not None:
                self._answer_latest(plan, question, known)

    def _answer_latest(self, plan: Plan, question: Question, known: int) -> None:
        latest, write = question.latest, question.write
        assert latest is not None
        if latest.ts != write.ts:
            return
        if latest.stamp == UNKNOWN_STAMP:
            latest.stamp = known
        if wins_latest(write.ts, write.stamp, latest.ts, latest.stamp):
            latest.stamp = write.stamp
            plan.newest[latest] = (write.ts, question.kind, question.cell)

    def _add_all_columns(
        self, plan: Plan, slot: HistoryKey, write: TimeseriesWrite, kind: int, cell: bytes
    ) -> None:
        head, end = self._statements.all_columns, long_field(write.stamp)
        if write.ttl:
            head, end = self._statements.all_columns_ttl, end + int_field(write.ttl)
        row = b"".join((head, slot.prefix, long_field(write.ts), only(kind, cell), end))
        plan.history.setdefault(slot, []).append(row)

    def rows(self, plan: Plan) -> list[bytes]:
        """All rows, neighbours in one partition together; takes the slots of latest."""
        rows: list[bytes] = []
        for slot, encoded in plan.history.items():
            rows += encoded
            if not slot.listed:
                plan.unlisted.append(slot)
        head = self._statements.partition
        rows += [head + slot.prefix for slot in plan.unlisted]
        head = self._statements.latest
        for latest, (ts, kind, cell) in plan.newest.items():
            number = latest.take_slot()
            if number >= LATEST_SLOTS:
                plan.latest_full += 1
                continue
            end = long_field(latest.timestamp(number))
            rows.append(b"".join((head, latest.prefix, long_field(ts), only(kind, cell), end)))
        return rows


def _best_of(
    questions: Iterable[Question], writes: Sequence[TimeseriesWrite]
) -> dict[Place, TimeseriesWrite]:
    """Per place asked about: the write of this batch with the greatest stamp, the last one
    of equals."""
    asked: dict[tuple[str, str, str, int], Place] = {}
    for question in questions:
        place = question.place
        asked[(*place.entity.key, place.key, place.ts)] = place
    best: dict[Place, TimeseriesWrite] = {}
    for write in writes:
        if not write.history:
            continue
        for key in write.values:
            found = asked.get((write.entity_type, write.entity_id, key, write.ts))
            if found is not None and (found not in best or write.stamp >= best[found].stamp):
                best[found] = write
    return best
