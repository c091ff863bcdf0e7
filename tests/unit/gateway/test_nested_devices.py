"""Devices behind a gateway: found by name, made when there is none."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from edgeferry.core.changes import Change, EntityChange
from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.store import Entity
from edgeferry.gateway import nested_devices
from edgeferry.gateway.nested_devices import NestedByChanges
from tests.unit.gateway.fakes import DEVICE, OTHER, TENANT

pytestmark = pytest.mark.asyncio
GATEWAY_2 = replace(OTHER, gateway=True)


class Site:
    """What is submitted is there when ``open`` is set."""

    def __init__(self) -> None:
        self.by_name: dict[str, Entity] = {}
        self.made: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def named(self, tenant_id: str, entity_type: str, name: str) -> Entity | None:
        return self.by_name.get(name)

    async def submit(self, changes: Sequence[Change]) -> None:
        (change,) = changes
        assert isinstance(change, EntityChange)
        self.made.append(json.loads(change.body)["name"])
        await self.open.wait()
        body = json.loads(change.body)
        info = json.dumps(body["additionalInfo"])
        self.by_name[body["name"]] = Entity(
            "DEVICE", change.entity_id, TENANT, body["name"], body["type"], 1, 1, "cloud", "", info
        )


def nested_of(site: Site) -> NestedByChanges:
    return NestedByChanges(
        entities=site,  # type: ignore[arg-type]
        changes=site,  # type: ignore[arg-type]
        tenant_id=TENANT,
        origin="cloud",
        clock=ManualClock(),
    )


async def test_one_is_made_once_and_found_again_by_its_gateway_alone() -> None:
    site = Site()
    nested = nested_of(site)
    first = await nested.nested(DEVICE, "n1", "meter")
    assert await nested.nested(DEVICE, "n1", "other") == first
    assert (first.profile, first.gateway, site.made) == ("meter", False, ["n1"])
    with pytest.raises(InvalidPayload, match="not behind this gateway"):
        await nested.nested(GATEWAY_2, "n1", "meter")


async def test_a_gateway_whose_device_is_being_made_holds_up_no_other() -> None:
    site = Site()
    nested = nested_of(site)
    site.open.clear()
    waiting = [asyncio.create_task(nested.nested(DEVICE, name, "meter")) for name in ("n1", "n2")]
    others = [asyncio.create_task(nested.nested(GATEWAY_2, name, "meter")) for name in ("n1", "n3")]
    for _ in range(10):
        await asyncio.sleep(0)
    assert site.made == ["n1"]  # the second of this gateway waits, and the same name of the other
    site.open.set()
    found = await asyncio.gather(*waiting, *others, return_exceptions=True)
    assert [isinstance(one, InvalidPayload) for one in found] == [False, False, True, False]
    assert sorted(site.made) == ["n1", "n2", "n3"]


async def test_another_gateway_goes_on_meanwhile() -> None:
    site = Site()
    nested = nested_of(site)
    site.open.clear()
    waiting = [
        asyncio.create_task(nested.nested(gateway, name, "meter"))
        for gateway, name in ((DEVICE, "n1"), (GATEWAY_2, "n2"))
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    assert site.made == ["n1", "n2"]
    site.open.set()
    await asyncio.gather(*waiting)


async def test_new_ones_come_no_faster_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nested_devices, "_MADE_AT_ONCE", 2)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(round(seconds, 1))

    nested = nested_of(Site())
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for name in ("n1", "n2", "n3", "n4", "n1", "n2"):
        await nested.nested(DEVICE, name, "meter")
    await nested.nested(GATEWAY_2, "n5", "meter")
    assert waits == [0.0, 0.1]
