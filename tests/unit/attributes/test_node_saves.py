"""Attributes that rule nodes save."""

from typing import cast

import pytest

from edgeferry.attributes.node_saves import AttributesByChanges
from edgeferry.core.changes import CLOUD_ORIGIN, AttributeChange, edge_origin
from edgeferry.core.kv import Scope, Value
from edgeferry.core.node import AttributesWrite
from edgeferry.core.store import AttributesStore
from tests.unit.attributes.memory import DEVICE, EDGE_A, Site, change, cloud
from tests.unit.attributes.submitting import client

pytestmark = pytest.mark.asyncio
NOW = 1_700_000_000_000
A = edge_origin(EDGE_A)


def port_of(site: Site) -> AttributesByChanges:
    return AttributesByChanges(
        changes=client(site),
        attributes=cast(AttributesStore, site.attributes),
        tenant_id="t",
        origin=CLOUD_ORIGIN,
    )


def write(stamp: int, told: int = 0, **values: Value) -> AttributesWrite:
    """``told``: the version that an edge has given all of them."""
    versions = dict.fromkeys(values, told) if told else {}
    origin = A if told else ""
    return AttributesWrite("DEVICE", DEVICE, Scope.CLIENT, values, NOW, stamp, origin, versions)


def by_itself(id_: str, version: int, value: Value) -> AttributeChange:
    return change(id_, A, Scope.CLIENT, {"a": value}, versions={"a": version})


def stands(site: Site, key: str = "a") -> tuple[Value | None, int]:
    return site.attributes.state()[Scope.CLIENT, key]


async def test_a_node_saves_only_what_changed_and_repeats_with_the_same_id() -> None:
    site = cloud()
    port = port_of(site)
    versions = await port.save([write(7, a=1), write(8, a=1)])
    assert len(site.log) == 1
    assert versions[0] == {"a": stands(site)[1]}
    assert await port.save([write(9, a=True), write(10)]) == [{"a": NOW * 1000 + 1}, {}]
    assert stands(site) == (True, NOW * 1000 + 1)
    before = list(site.log)
    site.attributes.rows.clear()
    site.done = 0
    await port.save([write(9, a=True)])
    assert [record.value for record in site.log[len(before) :]] == [before[-1].value]


async def test_versions_are_told_of_what_stands_and_of_what_was_overtaken() -> None:
    site = cloud()
    port = port_of(site)
    first = await port.save([write(1, a=1), write(2, a=2)])
    assert first == [{"a": NOW * 1000}, {"a": NOW * 1000 + 1}]
    assert await port.save([write(3, a=2)]) == first[1:]
    assert await port.save([write(1, a=1)]) == first[:1]  # a repeat
    assert stands(site) == (2, NOW * 1000 + 1)


@pytest.mark.parametrize("chain_first", [False, True])
async def test_what_comes_by_itself_and_through_the_chain_counts_once(chain_first: bool) -> None:
    site = cloud()
    port, told = port_of(site), [(NOW * 1000 + n, n) for n in range(3)]
    if chain_first:
        await port.save([write(n, version, a=n) for version, n in told])
    for version, n in told:
        site.put(by_itself(str(n), version, n))
    site.handle()
    if not chain_first:
        versions = await port.save([write(n, version, a=n) for version, n in told])
        assert versions == [{}, {}, {"a": NOW * 1000 + 2}]
    assert stands(site) == (2, NOW * 1000 + 2)
    assert [message.type for message in site.root] == ["ATTRIBUTES_UPDATED"] * 3
    assert site.attributes.rows["DEVICE", DEVICE, Scope.CLIENT, "a"][1].origin == A


async def test_what_the_chain_has_changed_is_a_save_of_its_own() -> None:
    site = cloud()
    site.put(by_itself("1", NOW * 1000, 5))
    site.handle()
    await port_of(site).save([write(1, NOW * 1000, a=50, b=1)])
    assert stands(site) == (50, NOW * 1000 + 1)
    assert stands(site, "b") == (1, NOW * 1000)
