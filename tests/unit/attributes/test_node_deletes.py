"""Attributes that rule nodes delete."""

from typing import cast

import pytest

from edgeferry.attributes.node_deletes import DeletesByChanges
from edgeferry.core.changes import CLOUD_ORIGIN
from edgeferry.core.kv import Scope
from edgeferry.core.node import AttributesDelete
from edgeferry.core.store import AttributesStore
from tests.unit.attributes.memory import DEVICE, Site, change, cloud
from tests.unit.attributes.submitting import client

pytestmark = pytest.mark.asyncio
NOW = 1_700_000_000_000


def port_of(site: Site) -> DeletesByChanges:
    return DeletesByChanges(
        changes=client(site),
        attributes=cast(AttributesStore, site.attributes),
        tenant_id="t",
        origin=CLOUD_ORIGIN,
    )


def delete(id_: str, *keys: str) -> AttributesDelete:
    return AttributesDelete(id_, "DEVICE", DEVICE, Scope.SHARED, keys, NOW)


async def saved(site: Site, id_: str, **values: int) -> None:
    await client(site).submit([change(id_, CLOUD_ORIGIN, Scope.SHARED, values)])


def stands(site: Site) -> dict[str, object]:
    return {key: value for (_, key), (value, _) in site.attributes.state().items()}


async def test_a_node_deletes_what_stands_and_passes_over_the_rest() -> None:
    site = cloud()
    await saved(site, "s", a=1, b=2)
    port = port_of(site)
    await port.delete_attributes([delete("m1", "a", "no"), delete("m2", "a")])
    assert stands(site) == {"a": None, "b": 2}
    before = len(site.log)
    await port.delete_attributes([delete("m3", "a", "no")])
    assert len(site.log) == before


async def test_a_repeated_message_undoes_no_later_save() -> None:
    site = cloud()
    await saved(site, "s", a=1)
    port = port_of(site)
    await port.delete_attributes([delete("m", "a")])
    await saved(site, "again", a=2)
    await port.delete_attributes([delete("m", "a")])
    assert stands(site) == {"a": 2}
    await port.delete_attributes([delete("another", "a")])
    assert stands(site) == {"a": None}
