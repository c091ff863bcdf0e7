"""Deciding what becomes of a change of an attribute, and the record of it: JSON kept beside
the attribute, the same in every store. And what becomes of a command."""

import json
from typing import Any, NamedTuple

from edgeferry.core.changes import rises
from edgeferry.core.merge import wins_attribute
from edgeferry.core.store import (
    DECISIONS_KEPT,
    Decision,
    Outcome,
    PastDecision,
    Rpc,
    RpcNews,
    VersionedAttribute,
)


class Standing(NamedTuple):
    """What stands of an attribute; version -1: nothing does."""

    version: int = -1
    origin: str = ""
    decisions: tuple[PastDecision, ...] = ()


def decide(
    standing: Standing, change: VersionedAttribute, now_ms: int
) -> tuple[Decision, Standing]:
    """The decision, and what stands after it."""
    version, origin = change.version, change.origin
    if (version, origin) == (standing.version, standing.origin):
        return Decision(Outcome.SAME, version, origin), standing
    wins = wins_attribute(version, origin, standing.version, standing.origin)
    outcome = Outcome.APPLIED if wins else Outcome.LOST
    decisions = standing.decisions
    if not any((one.version, one.origin) == (version, origin) for one in decisions):
        made = PastDecision(
            version,
            origin,
            outcome,
            now_ms,
            change.last_update_ts,
            change.value is None,
            change.event_id,
            change.source,
        )
        decisions = (*decisions, made)[-DECISIONS_KEPT:]
    if wins:
        standing = Standing(version, origin)
    decision = Decision(outcome, standing.version, standing.origin)
    return decision, standing._replace(decisions=decisions)


def raised(rpc: Rpc, news: RpcNews) -> Rpc:
    """The command after news of it; the same when they count for nothing."""
    if rpc.device_id != news.device_id or not rises(
        rpc.status, rpc.answer, news.status, news.answer
    ):
        return rpc
    return rpc._replace(
        status=news.status, answer=news.answer, updated_ms=news.now_ms, event_id=news.event_id
    )


def decisions_text(decisions: tuple[PastDecision, ...]) -> str:
    return json.dumps(decisions, ensure_ascii=False, separators=(",", ":"))


def decisions_of(text: str | None) -> tuple[PastDecision, ...]:
    rows: list[list[Any]] = json.loads(text) if text else []
    return tuple(
        PastDecision(version, origin, Outcome(outcome), *rest)
        for version, origin, outcome, *rest in rows
    )
