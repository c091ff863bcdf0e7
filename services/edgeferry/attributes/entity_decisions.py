"""What was decided about an entity's last changes, as it is kept with the entity.

A change that comes again is not decided anew: the same follows from it as the first time.
"""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from edgeferry.core.store import Entity

KEPT: Final = 32
"""Changes of one entity that one batch, or what was not committed before a kill, may hold."""
_MOST_TEXT: Final = 64 * 1024
"""Fewer are kept of an entity of very many edges."""


class EntityOutcome(StrEnum):
    """What a change has done; the first six are the actions of the events that follow."""

    ADDED = "ADDED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"
    CREDENTIALS = "CREDENTIALS_UPDATED"
    ASSIGNED = "ASSIGNED_TO_EDGE"
    UNASSIGNED = "UNASSIGNED_FROM_EDGE"
    SNAPSHOT = "SNAPSHOT"
    NOTHING = "NOTHING"
    REFUSED = "REFUSED"


class EntityDecision(NamedTuple):
    """``version``, ``origin``: of the entity after it, or of its credentials. ``edges``: who
    hears of it. ``source``: where the record of the change stands in the log."""

    event_id: str
    outcome: EntityOutcome
    version: int = 0
    origin: str = ""
    edges: Sequence[str] = ()
    source: str = ""


def decisions_of(entity: Entity | None) -> Sequence[EntityDecision]:
    """The newest last."""
    rows = json.loads(entity.decisions) if entity is not None and entity.decisions else []
    return [
        EntityDecision(row[0], EntityOutcome(row[1]), row[2], row[3], tuple(row[4]), row[5])
        for row in rows
    ]


def decision_of(entity: Entity | None, change_id: str) -> EntityDecision | None:
    return next((one for one in decisions_of(entity) if one.event_id == change_id), None)


def with_decision(entity: Entity, before: Entity | None, decision: EntityDecision) -> Entity:
    """``entity`` with all that is known of it ``before``, and this."""
    kept = [*decisions_of(before), decision][-KEPT:]
    text = _text(kept)
    while len(text) > _MOST_TEXT and len(kept) > 1:
        kept = kept[len(kept) // 2 :]
        text = _text(kept)
    return entity._replace(decisions=text)


def _text(decisions: Sequence[EntityDecision]) -> str:
    return json.dumps(decisions, separators=(",", ":"))


def is_forgotten(entity: Entity | None, change_id: str, batch: Sequence[str]) -> bool:
    """Whether a change that nothing is known of was decided so long ago that it is kept no
    more: a later one was. ``batch``: the ids of the entity's changes, in order."""
    known = {one.event_id for one in decisions_of(entity)}
    text = entity.decisions if entity is not None else ""
    may_lack = len(known) >= KEPT or len(text) > _MOST_TEXT // 4
    if not may_lack or change_id not in batch:
        return False
    return not known.isdisjoint(batch[batch.index(change_id) + 1 :])
