"""Attributes that rule nodes delete: wishes to change them, as everybody else's."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from edgeferry.attributes.standing import Place, standing_at
from edgeferry.core.changes import AttributeChange, Changes
from edgeferry.core.errors import EntityGone
from edgeferry.core.ids import derived_id
from edgeferry.core.node import AttributesDelete
from edgeferry.core.store import AttributesStore

_MAKER: Final = "delete_attributes"


class DeletesByChanges:
    """The port ``core.node.AttributeDeletesPort``: a delete becomes a change, whose id follows
    from the message, so that a repeated hop makes the same one and undoes no later save."""

    def __init__(
        self, *, changes: Changes, attributes: AttributesStore, tenant_id: str, origin: str
    ) -> None:
        self._changes = changes
        self._attributes = attributes
        self._tenant_id = tenant_id
        self._origin = origin

    async def delete_attributes(self, deletes: Sequence[AttributesDelete]) -> None:
        """Raises StoreUnavailable, LogUnavailable, NotAppliedYet, RecordTooLarge,
        ChangeRefused."""
        standing = await self._standing(deletes)
        changes: list[AttributeChange] = []
        for delete in deletes:
            there = standing[_place_of(delete)]
            keys = [key for key in delete.keys if key in there]
            there.difference_update(keys)
            if keys:
                changes.append(self._change(delete, keys))
        with suppress(EntityGone):  # so are its attributes
            await self._changes.submit(changes)

    async def _standing(self, deletes: Sequence[AttributesDelete]) -> dict[Place, set[str]]:
        wanted = [(_place_of(delete), delete.keys) for delete in deletes]
        return {
            place: {row.key for row in rows if row.value is not None}
            for place, rows in (await standing_at(self._attributes, wanted)).items()
        }

    def _change(self, delete: AttributesDelete, keys: Sequence[str]) -> AttributeChange:
        place = f"{delete.id}|{delete.entity_type}|{delete.entity_id}|{delete.scope}"
        return AttributeChange(
            id=derived_id(f"{place}|{json.dumps(list(delete.keys))}", _MAKER, 0),
            tenant_id=self._tenant_id,
            entity_type=delete.entity_type,
            entity_id=delete.entity_id,
            scope=delete.scope,
            origin=self._origin,
            created_time=delete.ts,
            deletes=keys,
        )


def _place_of(delete: AttributesDelete) -> Place:
    return (delete.entity_type, delete.entity_id, delete.scope)
