"""What an Edge may delete of the devices that it has."""

import json
from dataclasses import replace

import pytest

from edgeferry.api.context import ApiContext
from edgeferry.api.devices import Devices
from edgeferry.api.errors import ApiError, ErrorCode
from edgeferry.core.changes import CLOUD_ORIGIN, edge_origin
from edgeferry.core.entity_store import MADE_BY
from edgeferry.core.store import Entity
from tests.unit.api.site import Site, writing

pytestmark = pytest.mark.asyncio
ID = "5f6e3a00-5b1e-11f0-8000-0242ac120002"
HERE, ELSEWHERE = edge_origin("edge-1"), edge_origin("edge-2")


def devices_at(site: Site, origin: str) -> Devices:
    here = replace(writing(site.changes, site.clock, site.data), origin=origin)
    return Devices(
        ApiContext(store=site.store, auth=site.auth.auth, clock=site.clock, writing=here)
    )


async def known(site: Site, name: str, origin: str, version: int = 1, made_by: str = "") -> str:
    tenant_id = writing(site.changes, site.clock, site.data).tenant_id
    info = json.dumps({MADE_BY: made_by} if made_by else {})
    device = Entity(
        "DEVICE", ID, tenant_id, name, "default", 1, version, origin, additional_info=info
    )
    await site.store.entities.save_entities([device])
    await site.store.entities.assign(("DEVICE", ID), "edge-1")  # whose changes the Cloud takes
    return ID


@pytest.mark.parametrize(
    ("origin", "made_by"),
    [
        pytest.param(CLOUD_ORIGIN, CLOUD_ORIGIN, id="the Cloud's"),
        pytest.param(HERE, CLOUD_ORIGIN, id="the Cloud's, changed here"),
        pytest.param(HERE, ELSEWHERE, id="another edge's, changed here"),
        pytest.param(CLOUD_ORIGIN, "", id="older, changed in the Cloud"),
        pytest.param(ELSEWHERE, "", id="older, changed at another edge"),
    ],
)
async def test_what_another_site_has_made_is_not_the_edges_to_delete(
    site: Site, origin: str, made_by: str
) -> None:
    id_ = await known(site, "given", origin, made_by=made_by)
    with pytest.raises(ApiError, match=r"given.*unassign it from this edge in the") as refused:
        await devices_at(site, HERE).delete(id_)
    assert (refused.value.status, refused.value.code) == (403, ErrorCode.PERMISSION_DENIED)
    assert (await devices_at(site, HERE).get(id_)).name == "given"
    await devices_at(site, CLOUD_ORIGIN).delete(id_)


@pytest.mark.parametrize(
    ("origin", "made_by"),
    [
        pytest.param(HERE, HERE, id="its own"),
        pytest.param(CLOUD_ORIGIN, HERE, id="its own, changed in the Cloud"),
        pytest.param(HERE, "", id="older"),
        pytest.param("", "", id="a shell"),
    ],
)
async def test_what_it_has_made_itself_it_deletes(site: Site, origin: str, made_by: str) -> None:
    edge = devices_at(site, HERE)
    id_ = await known(site, "own", origin, version=1 if origin else 0, made_by=made_by)
    await edge.delete(id_)
    with pytest.raises(ApiError, match="not found"):
        await edge.get(id_)
