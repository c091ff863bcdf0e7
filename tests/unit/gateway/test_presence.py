"""Devices that come, say something, and go."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette

from edgeferry.core.changes import AttributeChange
from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import StoreUnavailable
from edgeferry.core.kv import Scope, Value
from edgeferry.gateway import watched_devices
from edgeferry.gateway.appender import AppendRules
from edgeferry.gateway.context import UsualStates
from edgeferry.gateway.device_state import StoredState, state_of
from edgeferry.gateway.devices import Device
from edgeferry.gateway.http import http_routes
from edgeferry.gateway.ports import DevicePorts
from edgeferry.gateway.server import Gateway
from edgeferry.log.change_codec import decode_change
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.fakes import (
    DEVICE,
    OTHER,
    TOKEN,
    CountedMetrics,
    FixedDevices,
    MemoryLog,
    make_context,
)
from tests.unit.gateway.links import FakeNested
from tests.unit.gateway.test_gateway import until

pytestmark = pytest.mark.asyncio
MINUTE = 60.0


@dataclass
class FakeStates:
    """A store of states."""

    kept: dict[str, dict[str, Value]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    away: bool = False
    loads: list[str] = field(default_factory=list)
    devices: tuple[Device, ...] = (DEVICE, OTHER)

    async def load(self, device_ids: Sequence[str]) -> Mapping[str, StoredState]:
        if self.away:
            raise StoreUnavailable("away")
        self.loads += device_ids
        return {one: self.stored(one) for one in device_ids if one not in self.gone}

    async def left_active(self, most: int) -> Sequence[tuple[Device, StoredState]]:
        if self.away:
            raise StoreUnavailable("away")
        found = [(one, self.stored(one.id)) for one in self.devices]
        return [(one, stored) for one, stored in found if stored.attributes.get("active")][:most]

    def stored(self, device_id: str) -> StoredState:
        kept = dict(self.kept.get(device_id, {}))
        return StoredState(self.labels.get(device_id, ""), state_of(kept), kept)


@dataclass
class Bed:
    """A gateway whose steps are made by hand."""

    gateway: Gateway
    log: MemoryLog
    clock: ManualClock
    states: FakeStates
    arrived: int = 0

    async def step(self, seconds: float = 1.0) -> None:
        """After so long. What is written arrives in the store."""
        self.clock.advance(seconds)
        await self.gateway.check()
        await self.gateway.api.presence.step()
        await self.gateway.appender.append([], 0, 5)
        new, self.arrived = self.changes()[self.arrived :], len(self.changes())
        for change in new:
            self.states.kept.setdefault(change.entity_id, {}).update(change.upserts)

    def changes(self) -> list[AttributeChange]:
        found = [decode_change(r.value) for r in self.log.records if r.topic.endswith("-changes")]
        return [change for change in found if isinstance(change, AttributeChange)]

    def events(self) -> list[str]:
        """Types of the root chain's messages."""
        return [message.type for message in self.log.messages()]

    def written(self) -> list[list[str]]:
        return [list(change.upserts) for change in self.changes()]

    async def device(self, token: str = TOKEN, client_id: str = "c") -> RawClient:
        client = await RawClient(self.gateway.address).open()
        assert (await client.connect(token, client_id, keep_alive=0)).codes == b"\0"
        return client

    async def leave(self, client: RawClient) -> None:
        before = len(self.gateway.api.sessions)
        await client.close()
        await until(lambda: len(self.gateway.api.sessions) < before)


@pytest_asyncio.fixture
async def bed(metrics: CountedMetrics) -> AsyncIterator[Bed]:
    log, clock, states = MemoryLog(), ManualClock(), FakeStates()
    ports = DevicePorts(nested=FakeNested(), states=states)
    context = make_context(
        log, devices=FixedDevices(DEVICE, OTHER), clock=clock, metrics=metrics, ports=ports
    )
    rules = AppendRules(first_retry=0.005, longest_retry=0.005)
    gateway = Gateway(context, port=0, rules=rules)
    await gateway.start()
    await gateway.api.presence._task.stop()  # steps are made by hand
    yield Bed(gateway, log, clock, states)
    await gateway.stop()


async def test_a_first_session_opens_and_the_last_one_closes(bed: Bed) -> None:
    bed.states.labels[DEVICE.id] = "the big one"
    first, second = await bed.device(client_id="a"), await bed.device(client_id="b")
    opened_ms = bed.clock.now_ms()
    await bed.step()
    connect, activity = bed.log.messages()
    assert (connect.type, activity.type) == ("CONNECT_EVENT", "ACTIVITY_EVENT")
    assert (connect.entity_id, connect.ts) == (DEVICE.id, opened_ms)
    assert dict(connect.metadata) == {
        "deviceName": "pump-1",
        "deviceType": "pump",
        "deviceLabel": "the big one",
        "scope": "SERVER_SCOPE",
    }
    assert json.loads(connect.data) == {
        "lastConnectTime": opened_ms,
        "lastActivityTime": 0,
        "lastDisconnectTime": 0,
        "lastInactivityAlarmTime": 0,
        "inactivityTimeout": 600_000,
    }
    assert json.loads(activity.data) | {"active": True, "lastActivityTime": opened_ms} == (
        json.loads(activity.data)
    )
    (change,) = bed.changes()
    assert change.scope is Scope.SERVER
    assert change.upserts == {
        "active": True, "lastConnectTime": opened_ms, "lastActivityTime": opened_ms,
    }  # fmt: skip
    await bed.leave(first)
    await bed.step()
    assert bed.events() == ["CONNECT_EVENT", "ACTIVITY_EVENT"]
    await bed.leave(second)
    left_ms = bed.clock.now_ms()
    await bed.step()
    told = bed.log.messages()[-1]
    assert (told.type, told.json["active"]) == ("DISCONNECT_EVENT", True)
    assert told.json["lastDisconnectTime"] == left_ms
    await bed.step(10)
    assert bed.changes()[-1].upserts == {"lastDisconnectTime": left_ms}


async def test_a_client_that_comes_and_goes_all_the_time_is_written_seldom(bed: Bed) -> None:
    for _ in range(5):
        await bed.leave(await bed.device())
        await bed.step()
    assert bed.events().count("CONNECT_EVENT") == bed.events().count("DISCONNECT_EVENT") == 5
    assert len(bed.changes()) == 1
    await bed.step(10)
    assert bed.written()[1:] == [["lastConnectTime", "lastDisconnectTime", "lastActivityTime"]]
    await bed.step(10)
    assert len(bed.changes()) == 2


async def test_a_device_without_news_is_inactive_and_comes_back(bed: Bed) -> None:
    await bed.leave(await bed.device())
    await bed.step()
    await bed.step(11)
    await bed.step(10 * MINUTE - 30)
    assert "INACTIVITY_EVENT" not in bed.events()
    await bed.step(20)
    alarm_ms = bed.clock.now_ms()
    told = bed.log.messages()[-1]
    assert (told.type, told.json["active"]) == ("INACTIVITY_EVENT", False)
    assert told.json["lastInactivityAlarmTime"] == alarm_ms
    assert bed.changes()[-1].upserts == {"active": False, "inactivityAlarmTime": alarm_ms}
    assert len(bed.gateway.api.presence) == 0
    await bed.step(60 * MINUTE)
    assert bed.events().count("INACTIVITY_EVENT") == 1
    client = await bed.device()
    await bed.step()
    assert bed.events()[-2:] == ["CONNECT_EVENT", "ACTIVITY_EVENT"]
    assert bed.states.kept[DEVICE.id]["active"] is True
    await client.close()


async def test_a_silent_session_is_inactive_until_it_speaks(bed: Bed) -> None:
    client = await bed.device()
    await bed.step()
    await bed.step(10 * MINUTE)
    await bed.step(10 * MINUTE)
    await bed.step(10 * MINUTE)
    assert bed.events() == ["CONNECT_EVENT", "ACTIVITY_EVENT", "INACTIVITY_EVENT"]
    client.publish(1, '{"a": 1}')
    assert (await client.receive()).packet_id == 1
    await bed.step()
    assert bed.events()[3:] == ["POST_TELEMETRY_REQUEST", "ACTIVITY_EVENT"]
    await client.close()


async def test_an_active_device_is_written_every_few_minutes(bed: Bed) -> None:
    client = await bed.device()
    for number in range(1, 61):
        client.publish(number, '{"a": 1}')
        assert (await client.receive()).packet_id == number
        await bed.step(15)
    assert [keys for keys in bed.written() if keys != ["lastActivityTime"]] == bed.written()[:1]
    assert 2 <= len(bed.written()[1:]) <= 3
    assert "INACTIVITY_EVENT" not in bed.events()
    await client.close()


async def test_a_device_has_its_own_time_out(bed: Bed) -> None:
    bed.states.kept[DEVICE.id] = {"inactivityTimeout": 60_000}
    await bed.leave(await bed.device())
    await bed.step()
    assert bed.log.messages()[0].json["inactivityTimeout"] == 60_000
    bed.states.kept[DEVICE.id]["inactivityTimeout"] = 180_000
    await bed.step(MINUTE)
    assert "INACTIVITY_EVENT" not in bed.events()
    await bed.step(2 * MINUTE)
    assert bed.events()[-1] == "INACTIVITY_EVENT"


async def test_who_was_seen_by_another_gateway_is_not_inactive(bed: Bed) -> None:
    await bed.leave(await bed.device())
    await bed.step()
    await bed.step(11)
    await bed.step(5 * MINUTE)
    elsewhere = bed.clock.now_ms()
    bed.states.kept[DEVICE.id]["lastActivityTime"] = elsewhere
    await bed.step(6 * MINUTE)
    assert "INACTIVITY_EVENT" not in bed.events()
    bed.states.kept[DEVICE.id] |= {"active": False, "inactivityAlarmTime": elsewhere + 1}
    before = len(bed.changes())
    await bed.step(5 * MINUTE)
    assert "INACTIVITY_EVENT" not in bed.events()  # the other one has told it
    assert (len(bed.changes()), len(bed.gateway.api.presence)) == (before, 0)


async def test_devices_that_were_active_before_a_restart_are_watched(bed: Bed) -> None:
    bed.states.kept[DEVICE.id] = {"active": True, "lastActivityTime": 5}
    bed.states.kept[OTHER.id] = {"active": False, "lastActivityTime": 5}
    await bed.step()
    assert (bed.events(), len(bed.gateway.api.presence)) == ([], 1)
    await bed.step(9 * MINUTE)
    assert bed.events() == []
    await bed.step(2 * MINUTE)
    (told,) = bed.log.messages()
    assert (told.type, told.entity_id) == ("INACTIVITY_EVENT", DEVICE.id)


async def test_a_gateway_that_stops_tells_that_its_devices_have_gone(bed: Bed) -> None:
    client = await bed.device()
    await bed.step()
    await bed.gateway.stop()
    assert bed.events() == ["CONNECT_EVENT", "ACTIVITY_EVENT", "DISCONNECT_EVENT"]
    assert bed.changes()[-1].upserts["lastDisconnectTime"] == bed.clock.now_ms()
    await client.close()


async def test_devices_behind_a_gateway_come_and_go(bed: Bed) -> None:
    client = await bed.device()
    client.publish(1, '{"valve": [{"a": 1}]}', "v1/gateway/telemetry")
    assert (await client.receive()).packet_id == 1
    await bed.step()
    of_valve = [m.type for m in bed.log.messages() if m.entity_id == "id-of-valve"]
    assert of_valve == ["POST_TELEMETRY_REQUEST", "CONNECT_EVENT", "ACTIVITY_EVENT"]
    client.publish(2, '{"device": "valve"}', "v1/gateway/disconnect")
    assert (await client.receive()).packet_id == 2
    await bed.step()
    assert [m.type for m in bed.log.messages() if m.entity_id == "id-of-valve"][3:] == [
        "DISCONNECT_EVENT"
    ]
    await client.close()


async def test_a_device_over_http_is_active_and_never_connected(bed: Bed) -> None:
    transport = httpx.ASGITransport(Starlette(routes=http_routes(bed.gateway)))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        path = f"/api/v1/{TOKEN}/telemetry"
        assert (await client.post(path, json={"a": 1})).status_code == 200
    await bed.step()
    assert bed.events() == ["POST_TELEMETRY_REQUEST", "ACTIVITY_EVENT"]
    assert bed.written() == [["active", "lastActivityTime"]]


async def test_what_the_store_does_not_answer_is_told_later(bed: Bed) -> None:
    client = await bed.device()
    bed.states.away = True
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await bed.step()
    bed.states.away = False
    await bed.step()
    assert bed.events() == ["CONNECT_EVENT", "ACTIVITY_EVENT"]
    await client.close()


async def test_a_device_that_is_gone_tells_nothing(bed: Bed) -> None:
    bed.states.gone.add(DEVICE.id)
    client = await bed.device()
    await bed.step()
    assert (bed.events(), bed.changes(), len(bed.gateway.api.presence)) == ([], [], 0)
    await client.close()


async def test_a_device_that_is_deleted_while_it_is_silent_is_forgotten(bed: Bed) -> None:
    await bed.leave(await bed.device())
    await bed.step()
    bed.states.gone.add(DEVICE.id)
    await bed.step(11 * MINUTE)
    assert "INACTIVITY_EVENT" not in bed.events()
    assert len(bed.gateway.api.presence) == 0


async def test_no_more_devices_are_watched_than_there_is_room_for(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_devices, "MOST_WATCHED", 1)
    one, two = await bed.device(), await bed.device(OTHER.token)
    await bed.step()
    assert {message.entity_id for message in bed.log.messages()} == {DEVICE.id}
    await one.close()
    await two.close()


async def test_states_that_the_log_did_not_take_are_read_again(bed: Bed) -> None:
    client = await bed.device()
    bed.log.refused = "lastConnectTime"
    await bed.step()
    assert (bed.events(), len(bed.gateway.api.presence)) == ([], 0)
    bed.log.refused = ""
    bed.clock.advance(11)
    client.publish(1, '{"a": 1}')
    assert (await client.receive()).packet_id == 1
    await bed.step()
    assert bed.events() == ["POST_TELEMETRY_REQUEST", "ACTIVITY_EVENT"]
    await client.close()


async def test_without_states_nothing_is_told(metrics: CountedMetrics) -> None:
    log = MemoryLog()
    context = replace(make_context(log, metrics=metrics), state_rules=UsualStates(1, 1))
    gateway = Gateway(context, port=0)
    await gateway.start()
    client = await RawClient(gateway.address).open()
    await client.connect(TOKEN)
    await client.close()
    await gateway.stop()
    assert log.records == []
