"""Devices of a file, taken over by a site that did not know them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.attributes.entities import Entities
from edgeferry.attributes.facts import Consequences, Here
from edgeferry.core.changes import (
    CLOUD_ORIGIN,
    Change,
    EntityAction,
    EntityChange,
    News,
    edge_origin,
)
from edgeferry.core.clock import ManualClock, SystemClock
from edgeferry.core.ids import DEFAULT_TENANT_ID, new_entity_id
from edgeferry.core.store import Store
from edgeferry.gateway.devices import Device, add_device, read_devices
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from edgeferry.tools.carry_over import CarryOver

pytestmark = pytest.mark.asyncio
EDGE = new_entity_id()
ORIGIN = edge_origin(EDGE)


@dataclass
class Owner:
    """A store and who applies its changes, as in a running site."""

    store: Store
    origin: str
    clock: ManualClock
    applied: list[EntityChange] = field(default_factory=list)

    def news_of(self, device_id: str, rpc_id: str) -> News:
        return lambda seconds: asyncio.sleep(min(seconds, 0.005))

    async def submit(self, changes: Sequence[Change]) -> None:
        for change in changes:
            assert isinstance(change, EntityChange)
            await self.take(change)

    async def take(self, change: EntityChange) -> None:
        owner = Entities(
            here=Here("cloud", self.origin),
            store=self.store.entities,
            attributes=self.store.attributes,
            timeseries=self.store.timeseries,
        )
        await owner.apply(change, self.clock.now_ms(), Consequences())
        self.applied.append(change)

    async def carry(self, file: Path) -> None:
        service = CarryOver(
            file=file,
            tenant_id=DEFAULT_TENANT_ID,
            origin=self.origin,
            entities=self.store.entities,
            changes=self,
            clock=self.clock,
        )
        await service.start()
        async with asyncio.timeout(5):
            while not service.health().ready:
                await asyncio.sleep(0.005)
        await service.stop()

    async def name(self, device: Device) -> str:
        key = ("DEVICE", device.id)
        return (await self.store.entities.entities([key]))[key].name


@pytest_asyncio.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Owner]:
    clock = ManualClock(SystemClock().now_ms() + 60_000)
    store = open_store(settings=StoreSettings(kind="sqlite"), data=tmp_path / "s", clock=clock)
    await store.start()
    yield Owner(store, CLOUD_ORIGIN, clock)
    await store.stop()


def changes_of_edge(file: Path, clock: ManualClock) -> list[EntityChange]:
    """What the Edge tells of the devices of its own file."""
    service = CarryOver(
        file=file, tenant_id=DEFAULT_TENANT_ID, origin=ORIGIN,
        entities=None, changes=None, clock=clock,  # type: ignore[arg-type]
    )  # fmt: skip
    found = [one for device in read_devices(file) for one in service._changes_of(device)]
    return [one for one in found if isinstance(one, EntityChange)]


async def test_a_device_is_taken_over_once_and_a_deleted_one_stays_deleted(
    cloud: Owner, tmp_path: Path
) -> None:
    device = add_device(tmp_path / "devices.json", "pump", token="t1")
    for _ in range(2):
        await cloud.carry(tmp_path / "devices.json")
        assert len(cloud.applied) == 2
        assert await cloud.store.entities.with_token("t1") == ("DEVICE", device.id)
    entities = cloud.store.entities
    known = (await entities.entities([("DEVICE", device.id)]))["DEVICE", device.id]
    await entities.save_entities([known._replace(deleted=True, version=known.version + 1)])
    await cloud.carry(tmp_path / "devices.json")
    assert len(cloud.applied) == 2


async def test_a_shell_gets_its_name_and_token(cloud: Owner, tmp_path: Path) -> None:
    device = add_device(tmp_path / "devices.json", "pump", token="t1")
    shell = EntityChange(
        new_entity_id(), DEFAULT_TENANT_ID, "DEVICE", device.id, EntityAction.SAVED, ORIGIN, 1,
        body='{"shell": true, "name": "", "type": ""}',
    )  # fmt: skip
    await cloud.take(shell)
    await cloud.carry(tmp_path / "devices.json")
    assert await cloud.name(device) == "pump"
    assert await cloud.store.entities.with_token("t1") == ("DEVICE", device.id)


@pytest.mark.parametrize("first", ["edge", "cloud"])
async def test_of_one_device_in_both_files_the_edges_row_stands_whoever_was_first(
    cloud: Owner, tmp_path: Path, caplog: pytest.LogCaptureFixture, first: str
) -> None:
    caplog.set_level(logging.INFO)
    at_edge, at_cloud = tmp_path / "edge.json", tmp_path / "cloud.json"
    device = add_device(at_edge, "as the edge says", token="t1")
    at_cloud.write_text(at_edge.read_text().replace("as the edge says", "as the cloud says"))
    told = changes_of_edge(at_edge, cloud.clock)
    if first == "cloud":  # then the edge may not write of it before it is assigned
        await cloud.carry(at_cloud)
        assert await cloud.name(device) == "as the cloud says"
        assigned = EntityAction.ASSIGNED
        await cloud.take(
            replace(told[0], id="a", action=assigned, origin=CLOUD_ORIGIN, edge_id=EDGE)
        )
    for change in told:
        await cloud.take(change)
    await cloud.carry(at_cloud)
    assert await cloud.name(device) == "as the edge says"
    assert await cloud.store.entities.edges_of([("DEVICE", device.id)]) == {
        ("DEVICE", device.id): [EDGE]
    }
    assert await cloud.store.entities.with_token("t1") == ("DEVICE", device.id)
    assert f"is one of edge {EDGE}" in caplog.text


@pytest.mark.parametrize("first", ["edge", "cloud"])
async def test_of_two_devices_with_one_token_the_older_one_has_it(
    cloud: Owner, tmp_path: Path, caplog: pytest.LogCaptureFixture, first: str
) -> None:
    at_edge, at_cloud = tmp_path / "edge.json", tmp_path / "cloud.json"
    older = add_device(at_edge, "pump", token="t1")
    add_device(at_cloud, "pump", token="t1")
    if first == "cloud":
        await cloud.carry(at_cloud)
    for change in changes_of_edge(at_edge, cloud.clock):
        await cloud.take(change)
    await cloud.carry(at_cloud)
    assert await cloud.store.entities.with_token("t1") == ("DEVICE", older.id)
    assert f"has the token of the older device {older.id}" in caplog.text
