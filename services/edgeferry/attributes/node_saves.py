"""Attributes that rule nodes save: wishes to change them, as everybody else's.

What came from the other site with versions, because its attributes service had given them,
keeps them and who gave them: it comes twice, by itself and through the chains, and counts once.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from edgeferry.attributes.standing import Place, standing_at
from edgeferry.core.changes import AttributeChange, Changes
from edgeferry.core.errors import EntityGone
from edgeferry.core.ids import derived_id
from edgeferry.core.kv import Value
from edgeferry.core.node import AttributesWrite
from edgeferry.core.store import AttributesStore

_MAKER: Final = "save_attributes"
_OWN, _TOLD = 0, 1

_Standing = dict[str, tuple[Value | None, int]]
"""Value (None: deleted) and version by key; version 0: not known yet."""


class AttributesByChanges:
    """The port ``core.node.AttributesPort``: a save becomes changes, whose ids follow from the
    message, so that a repeated hop makes the same ones.

    ``only_changed``: values that stand already are left out (semantics of the field, 6.4)."""

    def __init__(
        self,
        *,
        changes: Changes,
        attributes: AttributesStore,
        tenant_id: str,
        origin: str,
        only_changed: bool = True,
    ) -> None:
        self._changes = changes
        self._attributes = attributes
        self._tenant_id = tenant_id
        self._origin = origin
        self._only_changed = only_changed

    async def save(self, writes: Sequence[AttributesWrite]) -> Sequence[Mapping[str, int]]:
        """Raises StoreUnavailable, LogUnavailable, NotAppliedYet, ChangeRefused."""
        standing = await self._standing(writes)
        versions: list[dict[str, int]] = [{} for _ in writes]
        changes: list[AttributeChange] = []
        given: list[tuple[int, AttributeChange]] = []
        for index, write in enumerate(writes):
            own, told = self._wanted(write, standing[_place_of(write)], versions[index])
            if told:
                changes.append(self._change(write, told, _TOLD))
            if own:
                changes.append(self._change(write, own, _OWN))
                given.append((index, changes[-1]))
        with suppress(EntityGone):  # nothing is to stand of what was deleted meanwhile
            await self._changes.submit(changes)
        for index, change in given:
            versions[index] |= await self._given(change)
        return versions

    async def _standing(self, writes: Sequence[AttributesWrite]) -> dict[Place, _Standing]:
        wanted = [(_place_of(write), write.values) for write in writes]
        return {
            place: {row.key: (row.value, row.version) for row in rows}
            for place, rows in (await standing_at(self._attributes, wanted)).items()
        }

    def _wanted(
        self, write: AttributesWrite, known: _Standing, versions: dict[str, int]
    ) -> tuple[dict[str, Value], dict[str, Value]]:
        """The values that get a version here, and those that have one; each is compared with
        what stands after those before it. ``versions``: of those that stand."""
        own: dict[str, Value] = {}
        told: dict[str, Value] = {}
        for key, value in write.values.items():
            stands, version = known.get(key, (None, -1))
            same = _same(stands, value)
            wanted = write.versions.get(key, 0)
            if wanted and wanted > version:
                told[key], known[key] = value, (value, wanted)
                versions[key] = wanted
            elif wanted and (wanted < version or same):
                versions |= {key: version} if same and version else {}
            elif same and self._only_changed:
                versions |= {key: version} if version else {}
            else:
                own[key], known[key] = value, (value, 0)
        return own, told

    def _change(
        self, write: AttributesWrite, values: Mapping[str, Value], part: int
    ) -> AttributeChange:
        place = f"{write.entity_type}|{write.entity_id}|{write.scope}|{write.version}"
        text = json.dumps(write.values, sort_keys=True)
        told = part == _TOLD
        return AttributeChange(
            id=derived_id(f"{place}|{text}", _MAKER, part),
            tenant_id=self._tenant_id,
            entity_type=write.entity_type,
            entity_id=write.entity_id,
            scope=write.scope,
            origin=write.origin if told else self._origin,
            created_time=write.last_update_ts,
            upserts=values,
            versions={key: write.versions[key] for key in values} if told else {},
        )

    async def _given(self, change: AttributeChange) -> dict[str, int]:
        """The versions that a change has got; without those that nobody remembers."""
        place = (change.entity_type, change.entity_id, change.scope)
        found: dict[str, int] = {}
        for key in change.upserts:
            for past in await self._attributes.decisions(*place, key):
                if past.event_id == change.id:
                    found[key] = past.version
        return found


def _place_of(write: AttributesWrite) -> Place:
    return (write.entity_type, write.entity_id, write.scope)


def _same(one: Value | None, other: Value) -> bool:
    return type(one) is type(other) and one == other
