"""Who gets a device and its credentials, over a store and changes that are applied at once."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from edgeferry.core.changes import (
    AttributeChange,
    Change,
    EntityAction,
    EntityChange,
    NotAppliedYet,
)
from edgeferry.core.clock import ManualClock
from edgeferry.core.credentials import certificate_id, completed
from edgeferry.core.errors import ChangeRefused, InvalidPayload, LogUnavailable
from edgeferry.core.ids import is_entity_id
from edgeferry.core.kv import Scope
from edgeferry.core.store import Credentials, Entity, Store, VersionedAttribute
from edgeferry.gateway.look_up_brake import AT_ONCE, LookUpsBraked
from edgeferry.gateway.provision_profiles import ProvisionProfiles
from edgeferry.gateway.provisioned_devices import ProvisionedByChanges
from edgeferry.gateway.provisioning import (
    NotProvisioned,
    Provisioned,
    Provisioning,
    Status,
    TooManyMade,
    granted,
    wish_of,
)
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from tests.unit.gateway.fakes import TENANT
from tests.unit.gateway.test_provision_profiles import PUMP, VALVE, written

pytestmark = pytest.mark.asyncio
HERE = "192.0.2.1"
NEW = {"provisionDeviceKey": "k-pump", "provisionDeviceSecret": "s-pump-1"}
THERE = {"provisionDeviceKey": "k-valve", "provisionDeviceSecret": "s-valve-1"}


class Bed:
    """``error``: what the next submit raises, after it was applied."""

    def __init__(self, store: Store, profiles: ProvisionProfiles) -> None:
        self.store = store
        self.clock = ManualClock()
        self.submitted: list[Change] = []
        self.error: Exception | None = None
        maker = ProvisionedByChanges(
            entities=store.entities,
            attributes=store.attributes,
            changes=self,  # type: ignore[arg-type]
            tenant_id=TENANT,
            origin="cloud",
            clock=self.clock,
        )
        self.provisioning = Provisioning(profiles=profiles, maker=maker, clock=self.clock)

    async def ask(self, body: dict[str, Any], **more: Any) -> Provisioned:
        return await self.provisioning.provision(wish_of(body | more), HERE)

    async def submit(self, changes: Sequence[Change]) -> None:
        self.submitted += changes
        for change in changes:
            await self._apply(change)
        error, self.error = self.error, None
        if error is not None:
            raise error

    async def _apply(self, change: Change) -> None:
        if isinstance(change, AttributeChange):
            (item,) = change.upserts.items()
            place = (change.entity_type, change.entity_id, change.scope)
            await self.store.attributes.apply(
                [VersionedAttribute(*place, *item, 1, 1, "cloud", change.id)]
            )
        elif isinstance(change, EntityChange) and change.action is EntityAction.SAVED:
            body = json.loads(change.body)
            info = json.dumps(body["additionalInfo"])
            made = Entity("DEVICE", change.entity_id, TENANT, body["name"], body["type"], 1, 1,
                          "cloud", additional_info=info)  # fmt: skip
            await self.store.entities.save_entities([made])
        elif isinstance(change, EntityChange):
            kept = Credentials("DEVICE", change.entity_id, change.body, 1, "cloud")
            await self.store.entities.save_credentials(kept)

    async def state(self, device_id: str) -> object:
        rows = await self.store.attributes.attributes(
            "DEVICE", device_id, Scope.SERVER, ["provisionState"]
        )
        return rows[0].value if rows else None


@pytest_asyncio.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    store = open_store(settings=StoreSettings(kind="sqlite"), data=tmp_path, clock=ManualClock())
    await store.start()
    yield Bed(store, ProvisionProfiles(written(tmp_path, PUMP, VALVE)))
    await store.stop()


async def test_a_new_device_gets_a_token_and_is_there(bed: Bed) -> None:
    found = await bed.ask(NEW, deviceName=" pump-7 ")
    answer = granted(found)
    token = answer["credentialsValue"]
    assert answer == {
        "credentialsType": "ACCESS_TOKEN", "credentialsValue": token, "status": "SUCCESS",
    }  # fmt: skip
    assert len(token) == 32
    device = found.device
    assert (device.name, device.profile, device.gateway) == ("pump-7", "pump", False)
    assert is_entity_id(device.id)
    assert await bed.store.entities.with_token(token) == ("DEVICE", device.id)
    assert await bed.state(device.id) == "provisioned"


async def test_one_without_a_name_gets_one(bed: Bed) -> None:
    first, second = (await bed.ask(NEW)).device, (await bed.ask(NEW, deviceName=None)).device
    assert first.name != second.name
    assert len(first.name) == 20


async def test_a_gateway_may_ask_to_be_one(bed: Bed) -> None:
    found = await bed.ask(NEW, deviceName="room", gateway=True)
    entity = await bed.store.entities.named(TENANT, "DEVICE", "room")
    assert entity is not None
    assert json.loads(entity.additional_info) == {"gateway": True}
    assert found.device.gateway


async def test_credentials_of_each_type_may_be_asked_for(bed: Bed) -> None:
    token = await bed.ask(NEW, credentialsType="ACCESS_TOKEN", token="mine")
    assert granted(token)["credentialsValue"] == "mine"
    basic = await bed.ask(
        NEW, credentialsType="MQTT_BASIC", clientId="c", username="u", password="p"
    )
    assert granted(basic) == {
        "credentialsType": "MQTT_BASIC",
        "credentialsValue": {"clientId": "c", "userName": "u", "password": "p"},
        "status": "SUCCESS",
    }
    certificate = await bed.ask(NEW, credentialsType="X509_CERTIFICATE", hash="MAAB")
    assert granted(certificate)["credentialsValue"] == "MAAB"
    held = await bed.store.entities.with_token(certificate_id(b"\x30\x00\x01"))
    assert held == ("DEVICE", certificate.device.id)


@pytest.mark.parametrize("wrong", ["provisionDeviceKey", "provisionDeviceSecret"])
async def test_who_shows_another_key_or_secret_gets_nothing(bed: Bed, wrong: str) -> None:
    with pytest.raises(NotProvisioned) as caught:
        await bed.ask(NEW | {wrong: "guessed"})
    assert (caught.value.status, str(caught.value)) == (
        Status.NOT_FOUND, "Provision data was not found!",
    )  # fmt: skip
    assert bed.submitted == []


async def test_who_tries_keys_is_held_back(bed: Bed) -> None:
    for _ in range(AT_ONCE):
        with pytest.raises(NotProvisioned):
            await bed.ask(NEW | {"provisionDeviceKey": "guessed"})
    for body in (NEW, NEW | {"provisionDeviceKey": "guessed"}):
        with pytest.raises(LookUpsBraked):
            await bed.ask(body)
    bed.clock.advance(60)
    await bed.ask(NEW)


async def test_a_name_or_credentials_that_another_has_are_refused(bed: Bed) -> None:
    first = await bed.ask(NEW, deviceName="pump-7", token="mine")
    with pytest.raises(NotProvisioned, match="a device named 'pump-7' already") as caught:
        await bed.ask(NEW, deviceName="pump-7")
    assert caught.value.status is Status.FAILURE
    assert caught.value.device is not None
    assert caught.value.device.id == first.device.id
    with pytest.raises(NotProvisioned, match="another device has these credentials"):
        await bed.ask(NEW, deviceName="pump-8", token="mine")


async def test_two_that_ask_for_one_name_at_once_make_one_device(bed: Bed) -> None:
    asked = [bed.ask(NEW, deviceName="pump-7") for _ in range(3)]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(one, Provisioned) for one in found) == 1
    assert sum(isinstance(one, NotProvisioned) for one in found) == 2


async def test_new_devices_of_a_profile_are_made_at_a_pace(bed: Bed) -> None:
    for _ in range(1_000):
        bed.provisioning._pace.wait("pump", bed.clock.monotonic())
        bed.provisioning._pace.take("pump", 0)
    with pytest.raises(TooManyMade, match="10 devices a second of profile 'pump'"):
        await bed.ask(NEW)
    bed.clock.advance(1)
    await bed.ask(NEW)


async def there(bed: Bed, name: str, profile: str = "valve") -> str:
    made = await bed.ask(NEW, deviceName=name)
    key = ("DEVICE", made.device.id)
    entity = (await bed.store.entities.entities([key]))[key]
    await bed.store.entities.save_entities([entity._replace(profile=profile, version=2)])
    await set_state(bed, made.device.id, None, 2)
    bed.submitted.clear()
    return made.device.id


async def set_state(bed: Bed, device_id: str, value: str | None, version: int) -> None:
    row = VersionedAttribute("DEVICE", device_id, Scope.SERVER, "provisionState", value, 1,
                             version, "cloud", f"e-{version}")  # fmt: skip
    await bed.store.attributes.apply([row])


async def test_a_device_that_is_there_gets_its_credentials(bed: Bed) -> None:
    id_ = await there(bed, "valve-1")
    basic = completed({"credentialsType": "ACCESS_TOKEN", "credentialsId": "kept"})
    kept = Credentials("DEVICE", id_, json.dumps(basic), 2, "cloud")
    await bed.store.entities.save_credentials(kept)
    for _ in range(2):  # it may have lost them
        found = await bed.ask(THERE, deviceName="valve-1")
        assert (found.device.id, granted(found)["credentialsValue"]) == (id_, "kept")
    await set_state(bed, id_, "provisioned", 3)
    bed.submitted.clear()
    await bed.ask(THERE, deviceName="valve-1")
    assert bed.submitted == []


async def test_only_a_device_of_its_profile_and_name_is_found(bed: Bed) -> None:
    await there(bed, "pump-1", "pump")
    for name in ("pump-1", "nobody", ""):
        with pytest.raises(NotProvisioned, match="no device of profile 'valve' is named"):
            await bed.ask(THERE, deviceName=name)
    assert bed.submitted == []


async def test_a_device_whose_state_says_no_gets_nothing(bed: Bed) -> None:
    id_ = await there(bed, "valve-1")
    await set_state(bed, id_, "blocked", 3)
    with pytest.raises(NotProvisioned, match="provisionState is 'blocked'") as caught:
        await bed.ask(THERE, deviceName="valve-1")
    assert caught.value.device is not None


async def test_what_is_durable_and_not_applied_yet_is_the_devices(bed: Bed) -> None:
    bed.error = NotAppliedYet("later")
    assert granted(await bed.ask(NEW))["status"] == "SUCCESS"
    bed.error = LogUnavailable("away")
    with pytest.raises(LogUnavailable):
        await bed.ask(NEW)
    bed.error = ChangeRefused("no")
    with pytest.raises(NotProvisioned, match="it cannot be kept: no"):
        await bed.ask(NEW)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ([], "an object with"),
        ({}, "provisionDeviceKey: a text"),
        ({"provisionDeviceKey": "k"}, "provisionDeviceSecret: a text"),
        (NEW | {"provisionDeviceKey": ""}, "provisionDeviceKey: a text"),
        (NEW | {"deviceName": "x" * 256}, "deviceName: a text"),
        (NEW | {"deviceName": " "}, "deviceName: a device cannot be named"),
        (NEW | {"deviceName": "a\nb"}, "deviceName: a device cannot be named"),
        (NEW | {"deviceName": 7}, "deviceName: a text"),
        (NEW | {"gateway": "yes"}, "gateway: true or false"),
        (NEW | {"credentialsType": "LWM2M_CREDENTIALS"}, "credentialsType: one of"),
        (NEW | {"token": "a b"}, "an access token has"),
        (NEW | {"credentialsType": "MQTT_BASIC"}, "a clientId, a userName or both"),
        (NEW | {"credentialsType": "X509_CERTIFICATE", "hash": 1}, "one certificate is wanted"),
    ],
)
async def test_a_wish_that_is_none_is_refused(wrong: Any, text: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        wish_of(wrong)
    assert text in str(caught.value)
