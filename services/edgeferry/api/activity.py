"""Whether devices are active, as their server attribute says."""

import asyncio
from collections.abc import Sequence
from typing import Final

from edgeferry.core.kv import Scope
from edgeferry.core.store import AttributesStore, Entity

_KEY: Final = "active"
_AT_ONCE: Final = 16


async def active_ones(store: AttributesStore, entities: Sequence[Entity]) -> frozenset[str]:
    """The ids of those that are. Raises StoreUnavailable."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def is_active(entity: Entity) -> bool:
        async with turns:
            key = (entity.entity_type, entity.entity_id)
            found = await store.attributes(*key, Scope.SERVER, [_KEY])
        return any(entry.value is True for entry in found)

    answers = await asyncio.gather(*map(is_active, entities))
    return frozenset(
        entity.entity_id for entity, active in zip(entities, answers, strict=True) if active
    )
