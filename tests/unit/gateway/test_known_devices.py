"""Devices by what their clients show, kept in memory."""

import json
from collections.abc import Mapping

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.credentials import access_token, certificate_id, completed
from edgeferry.core.errors import StoreUnavailable
from edgeferry.core.store import Credentials, Entity, EntityKey
from edgeferry.gateway.known_devices import KnownDevices
from edgeferry.gateway.login import Login
from edgeferry.gateway.look_up_brake import (
    AT_ONCE,
    MOST_ADDRESSES,
    PER_SECOND,
    LookUpBrake,
    LookUpsBraked,
)
from edgeferry.gateway.stored import StoredDevices
from edgeferry.store.values import token_of

PUMP, VALVE = "5f6e3a00-5b1e-11f0-8000-0242ac120002", "5f6e3a01-5b1e-11f0-8000-0242ac120002"
PEER, OTHER_PEER = "192.0.2.7", "192.0.2.8"
DER = b"\x30\x82certificate"
CERTIFICATE = certificate_id(DER)
pytestmark = pytest.mark.asyncio


class Entities:
    """As much of an entity store as is asked."""

    def __init__(self, **tokens: str) -> None:
        self.kept: dict[EntityKey, Credentials] = {}
        self.asked = 0
        self.away = False
        for device, token in tokens.items():
            self.give(device, access_token(token))

    def give(self, device: str, body: Mapping[str, object]) -> None:
        key = ("DEVICE", {"pump": PUMP, "valve": VALVE}[device])
        self.kept[key] = Credentials(*key, json.dumps(body), 1, "cloud")

    def basic(self, device: str, **fields: str) -> None:
        wish = {"credentialsType": "MQTT_BASIC", "credentialsValue": json.dumps(fields)}
        self.give(device, completed(wish))

    async def with_token(self, token: str) -> EntityKey | None:
        if self.away:
            raise StoreUnavailable("away")
        self.asked += 1
        return next((key for key, one in self.kept.items() if token_of(one) == token), None)

    async def entities(self, keys: list[EntityKey]) -> dict[EntityKey, Entity]:
        return {key: Entity(*key, "t", f"name-{key[1]}", "pump", 1, 1, "cloud") for key in keys}

    async def credentials(self, key: EntityKey) -> Credentials | None:
        return self.kept.get(key)


def known_of(
    entities: Entities, clock: ManualClock | None = None, brake: LookUpBrake | None = None
) -> KnownDevices:
    keys = StoredDevices(entities)  # type: ignore[arg-type]
    return KnownDevices(keys=keys, clock=clock or ManualClock(), brake=brake)


async def look(known: KnownDevices, login: Login, address: str = PEER) -> str:
    """The id of the device that is let in; empty: none."""
    device = await known.look(login, address)
    assert known.find(login) == device
    return device.id if device is not None else ""


async def test_a_device_is_asked_for_once() -> None:
    entities = Entities(pump="t1")
    known = known_of(entities)
    assert known.find(Login("t1")) is None
    assert await look(known, Login("t1")) == PUMP
    assert await look(known, Login("t1", client_id="whatever")) == PUMP
    assert entities.asked == 1


async def test_an_unknown_token_is_not_asked_for_again_for_a_while() -> None:
    entities, clock = Entities(), ManualClock()
    known = known_of(entities, clock)
    assert await look(known, Login("t1")) == ""
    assert await look(known, Login("t1")) == ""
    assert entities.asked == 1
    entities.give("pump", access_token("t1"))
    clock.advance(31)  # should the news be missed
    assert await look(known, Login("t1")) == PUMP


@pytest.mark.parametrize("news", ["of the device", "of everything"])
async def test_news_of_a_device_make_an_unknown_token_known(news: str) -> None:
    entities = Entities()
    known = known_of(entities)
    assert await look(known, Login("t1")) == ""
    entities.give("pump", access_token("t1"))
    if news == "of the device":
        known.forget(PUMP)
    else:
        known.forget_all()
    assert await look(known, Login("t1")) == PUMP


async def test_news_that_come_during_a_look_up_count() -> None:
    entities = Entities()
    known = known_of(entities)
    find = entities.with_token

    async def slow(token: str) -> EntityKey | None:
        found = await find(token)
        known.forget(PUMP)
        return found

    entities.with_token = slow  # type: ignore[method-assign]
    assert await look(known, Login("t1")) == ""
    entities.give("pump", access_token("t1"))
    assert await look(known, Login("t1")) == PUMP


async def test_a_token_that_is_revoked_while_it_is_read_is_looked_up_again_at_once() -> None:
    entities = Entities(pump="t1")
    known = known_of(entities)
    read = entities.credentials

    async def revoked_meanwhile(key: EntityKey) -> Credentials | None:
        found = await read(key)
        entities.kept.clear()
        known.forget(PUMP)
        return found

    entities.credentials = revoked_meanwhile  # type: ignore[method-assign]
    assert await look(known, Login("t1")) == PUMP
    entities.away = True
    assert not await known.refresh()
    entities.away = False
    assert await known.refresh()
    assert known.find(Login("t1")) is None
    assert not await known.refresh()


async def test_a_forgotten_device_is_looked_up_again_and_may_be_gone() -> None:
    entities = Entities(pump="t1")
    known = known_of(entities)
    await look(known, Login("t1"))
    assert not await known.refresh()
    entities.kept.clear()
    known.forget(PUMP)
    assert known.find(Login("t1")) is None
    entities.away = True
    assert not await known.refresh()
    assert known.problem
    entities.away = False
    assert await known.refresh()
    assert (known.problem, known.find(Login("t1")), len(known)) == ("", None, 0)


async def test_what_was_known_for_minutes_is_looked_up_again() -> None:
    entities, clock = Entities(pump="t1"), ManualClock()
    known = known_of(entities, clock)
    await look(known, Login("t1"))
    clock.advance(301)
    assert not await known.refresh()
    assert entities.asked == 2


FULL = {"clientId": "c", "userName": "u", "password": "p"}


@pytest.mark.parametrize(
    ("wanted", "login", "is_in"),
    [
        (FULL, Login("u", b"p", "c"), True),
        (FULL, Login("u", b"q", "c"), False),
        (FULL, Login("u", b"", "c"), False),
        (FULL, Login("u", b"p", "d"), False),
        (FULL, Login("v", b"p", "c"), False),
        (FULL, Login("", b"p", "c"), False),
        ({"userName": "u", "password": "p"}, Login("u", b"p", "any"), True),
        ({"userName": "u", "password": "p"}, Login("u", b"\xff", "any"), False),
        ({"userName": "u", "password": "ü"}, Login("u", "ü".encode(), ""), True),
        ({"userName": "u"}, Login("u", b"any", "any"), True),
        ({"clientId": "c"}, Login("", b"", "c"), True),
        ({"clientId": "c"}, Login("u", b"", "c"), False),
        ({"clientId": "c", "userName": "u"}, Login("u", b"any", "c"), True),
        ({"userName": "u"}, Login("u", token_only=True), False),
        ({"userName": "u"}, Login("u", certificate=CERTIFICATE), False),
    ],
)
async def test_what_basic_credentials_say_has_to_be_right(
    wanted: dict[str, str], login: Login, is_in: bool
) -> None:
    entities = Entities()
    entities.basic("pump", **wanted)
    assert await look(known_of(entities), login) == (PUMP if is_in else "")


async def test_devices_share_a_user_name_under_their_own_client_ids() -> None:
    entities = Entities()
    entities.basic("pump", clientId="c1", userName="factory", password="p1")
    entities.basic("valve", clientId="c2", userName="factory", password="p2")
    known = known_of(entities)
    assert await look(known, Login("factory", b"p1", "c1")) == PUMP
    assert await look(known, Login("factory", b"p2", "c2")) == VALVE
    assert await look(known, Login("factory", b"p1", "c2")) == ""


async def test_a_certificate_counts_alone_and_its_id_is_no_token() -> None:
    entities = Entities(valve="t1")
    entities.give(
        "pump",
        {"credentialsType": "X509_CERTIFICATE", "credentialsId": CERTIFICATE},
    )
    known = known_of(entities)
    assert await look(known, Login(certificate=CERTIFICATE)) == PUMP
    assert await look(known, Login("t1", certificate=CERTIFICATE)) == PUMP
    assert await look(known, Login(CERTIFICATE)) == ""
    assert await look(known, Login(CERTIFICATE, token_only=True)) == ""
    assert await look(known, Login("t1", certificate="t1")) == ""


async def test_a_client_id_is_no_token() -> None:
    entities = Entities(pump="t1")
    assert await look(known_of(entities), Login("", b"", "t1")) == ""


@pytest.mark.parametrize(
    "body",
    [
        {"credentialsType": "LWM2M_CREDENTIALS", "credentialsId": "x"},
        {"credentialsType": "MQTT_BASIC", "credentialsId": "x", "credentialsValue": "no"},
        {"credentialsId": "x"},
    ],
)
async def test_credentials_that_nobody_can_use_let_nobody_in(body: dict[str, object]) -> None:
    entities = Entities()
    entities.give("pump", body)
    assert await look(known_of(entities), Login("x", b"", "x")) == ""


async def test_a_changed_password_ends_what_the_old_one_opened() -> None:
    entities = Entities()
    entities.basic("pump", userName="u", password="p")
    known, old, new = known_of(entities), Login("u", b"p"), Login("u", b"q")
    assert await look(known, old) == PUMP
    entities.basic("pump", userName="u", password="q")
    known.forget(PUMP)
    assert await known.refresh()
    assert known.find(old) is None
    assert await look(known, new) == PUMP


async def test_an_address_with_many_unknown_clients_is_held_back() -> None:
    entities, clock = Entities(pump="t1", valve="t2"), ManualClock()
    brake = LookUpBrake(clock)
    known = known_of(entities, clock, brake)
    assert await look(known, Login("t1")) == PUMP
    for number in range(AT_ONCE):
        assert await look(known, Login(f"bad-{number}")) == ""
    with pytest.raises(LookUpsBraked, match="later"):
        await known.look(Login("one more"), PEER)
    asked = entities.asked
    # what is known, what is known to be nobody, and others pass
    assert await look(known, Login("t1")) == PUMP
    assert await look(known, Login("bad-1")) == ""
    assert entities.asked == asked
    assert await look(known, Login("t2"), OTHER_PEER) == VALVE
    clock.advance(1)
    for number in range(int(PER_SECOND)):
        assert await look(known, Login(f"again-{number}")) == ""
    with pytest.raises(LookUpsBraked):
        await known.look(Login("again"), PEER)
    clock.advance(0.1)
    assert await look(known, Login("t2")) == VALVE


async def test_good_clients_behind_one_address_are_never_held_back() -> None:
    entities, clock = Entities(pump="t1"), ManualClock()
    brake = LookUpBrake(clock)
    known = known_of(entities, clock, brake)
    for _ in range(AT_ONCE + 1):
        assert await look(known, Login("t1")) == PUMP
        known.forget(PUMP)
    assert len(brake) == 0


async def test_the_brake_remembers_so_many_addresses() -> None:
    brake = LookUpBrake(ManualClock())
    for number in range(MOST_ADDRESSES + 5):
        brake.failed(f"address-{number}")
    assert len(brake) == MOST_ADDRESSES
