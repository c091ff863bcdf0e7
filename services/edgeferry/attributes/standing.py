"""What stands of the attributes that several wishes name."""

from collections.abc import Iterable, Sequence

from edgeferry.core.kv import Scope
from edgeferry.core.side_by_side import side_by_side
from edgeferry.core.store import AttributesStore, VersionedAttribute

Place = tuple[str, str, Scope]
"""Entity type, entity id, scope."""


async def standing_at(
    attributes: AttributesStore, wanted: Iterable[tuple[Place, Iterable[str]]]
) -> dict[Place, Sequence[VersionedAttribute]]:
    """One read for all keys of a place, the deleted ones among them. Raises StoreUnavailable."""
    keys: dict[Place, dict[str, None]] = {}
    for place, named in wanted:
        keys.setdefault(place, {}).update(dict.fromkeys(named))
    found = await side_by_side(
        attributes.standing(*place, list(of_place)) for place, of_place in keys.items()
    )
    return dict(zip(keys, found, strict=True))
