"""States of devices as the site's store has them: a port of ``presence``."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from edgeferry.core.kv import Scope
from edgeferry.core.message import EntityType
from edgeferry.core.store import AttributesStore, Entity, EntityOrder, EntityStore
from edgeferry.gateway.device_state import ACTIVE, STATE_KEYS, StoredState, state_of
from edgeferry.gateway.devices import DEFAULT_PROFILE, Device

_DEVICE: Final = EntityType.DEVICE.value
_PAGE: Final = 1_000
_MOST_READ: Final = 20_000

log = logging.getLogger(__name__)


class StoredStates:
    """``ports.DeviceStates``."""

    def __init__(
        self, *, entities: EntityStore, attributes: AttributesStore, tenant_id: str
    ) -> None:
        self._entities = entities
        self._attributes = attributes
        self._tenant_id = tenant_id

    async def load(self, device_ids: Sequence[str]) -> Mapping[str, StoredState]:
        """Raises StoreUnavailable."""
        found = await self._entities.entities([(_DEVICE, device_id) for device_id in device_ids])
        return {one.entity_id: await self._state(one) for one in found.values() if not one.deleted}

    async def left_active(self, most: int) -> Sequence[tuple[Device, StoredState]]:
        """Raises StoreUnavailable."""
        left: list[tuple[Device, StoredState]] = []
        skip, total = 0, 1
        while skip < min(total, _MOST_READ) and len(left) < most:
            page, total = await self._entities.page(
                self._tenant_id, _DEVICE, _PAGE, skip, order=EntityOrder.OLDEST
            )
            skip += _PAGE
            of_edges = await self._entities.edges_of([(_DEVICE, one.entity_id) for one in page])
            for one in page:
                if (_DEVICE, one.entity_id) not in of_edges:  # else the edge watches it
                    stored = await self._state(one)
                    if stored.attributes.get(ACTIVE) is True:
                        left.append((_device(one), stored))
        if total > _MOST_READ:
            log.warning(
                "of %d devices the first %d are looked at: one of the others that is gone since "
                "the last run stays active until it comes again", total, _MOST_READ,
            )  # fmt: skip
        return left

    async def _state(self, entity: Entity) -> StoredState:
        rows = await self._attributes.attributes(
            _DEVICE, entity.entity_id, Scope.SERVER, STATE_KEYS
        )
        values = {row.key: row.value for row in rows}
        return StoredState(entity.label, state_of(values), values)


def _device(entity: Entity) -> Device:
    return Device(entity.name, entity.entity_id, entity.profile or DEFAULT_PROFILE, "")
