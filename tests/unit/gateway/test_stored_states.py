"""Devices and their states as a store has them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.clock import ManualClock
from edgeferry.core.credentials import completed
from edgeferry.core.ids import new_entity_id
from edgeferry.core.kv import Scope, Value
from edgeferry.core.store import Credentials, Entity, Store, VersionedAttribute
from edgeferry.gateway.login import Login
from edgeferry.gateway.stored import StoredDevices
from edgeferry.gateway.stored_states import StoredStates
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from tests.unit.gateway.fakes import TENANT

pytestmark = pytest.mark.asyncio
DEVICE = "DEVICE"


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = open_store(settings=StoreSettings(kind="sqlite"), data=tmp_path, clock=ManualClock())
    await made.start()
    yield made
    await made.stop()


async def made(store: Store, name: str, *, deleted: bool = False, **state: Value) -> str:
    """The id of a device with these SERVER attributes."""
    id_ = new_entity_id()
    one = Entity(DEVICE, id_, TENANT, name, "pump", 1, 1, "cloud", label="L", deleted=deleted)
    await store.entities.save_entities([one])
    await store.attributes.apply(
        [
            VersionedAttribute(DEVICE, id_, Scope.SERVER, key, value, 1, 1, "cloud", f"e-{key}")
            for key, value in state.items()
        ]
    )
    return id_


def states_of(store: Store) -> StoredStates:
    return StoredStates(entities=store.entities, attributes=store.attributes, tenant_id=TENANT)


async def test_states_are_read_as_they_stand(store: Store) -> None:
    one = await made(store, "one", active=True, lastActivityTime=7, inactivityTimeout=5.0, other=1)
    two = await made(store, "two", active="yes", lastConnectTime=-1, lastDisconnectTime=True)
    gone = await made(store, "gone", deleted=True, active=True)
    found = await states_of(store).load([one, two, gone, new_entity_id()])
    assert set(found) == {one, two}
    assert found[one].label == "L"
    assert found[one].attributes == {
        "active": True, "lastActivityTime": 7, "inactivityTimeout": 5.0,
    }  # fmt: skip
    assert (found[one].state.active, found[one].state.last_activity) == (True, 7)
    assert found[one].state.timeout_ms == 5
    state = found[two].state
    assert (state.active, state.last_connect, state.last_disconnect) == (False, 0, 0)


async def test_devices_that_were_left_active_are_those_of_this_site(store: Store) -> None:
    left = await made(store, "left", active=True)
    await made(store, "not", active=False)
    await made(store, "never")
    await made(store, "gone", deleted=True, active=True)
    of_edge = await made(store, "of an edge", active=True)
    await store.entities.assign((DEVICE, of_edge), new_entity_id())
    ((device, stored),) = await states_of(store).left_active(10)
    assert (device.id, device.name, device.profile) == (left, "left", "pump")
    assert stored.state.active


async def test_each_kind_of_credentials_is_found_by_its_id(store: Store) -> None:
    id_ = await made(store, "one")
    devices = StoredDevices(store.entities)
    for version, (wish, login) in enumerate(
        [
            (
                {"credentialsType": "ACCESS_TOKEN", "credentialsId": "t1"},
                Login("t1", token_only=True),
            ),
            (
                {
                    "credentialsType": "MQTT_BASIC",
                    "credentialsValue": json.dumps({"clientId": "c", "userName": "u"}),
                },
                Login("u", b"", "c"),
            ),
            (
                {"credentialsType": "X509_CERTIFICATE", "credentialsValue": "MIIB"},
                Login(certificate=str(completed(
                    {"credentialsType": "X509_CERTIFICATE", "credentialsValue": "MIIB"}
                )["credentialsId"])),
            ),
        ]
    ):  # fmt: skip
        body = json.dumps(completed(wish))
        await store.entities.save_credentials(Credentials(DEVICE, id_, body, version + 1, "cloud"))
        found = [await devices.admitted(credentials_id) for credentials_id in login.ids()]
        (admitted,) = [one for one in found if one is not None]
        assert admitted.device.id == id_
        assert admitted.lets_in(login)
    assert await devices.admitted("t1") is None
