"""Answers to commands that another process has sent, and states that are put again."""

import asyncio

import httpx
import pytest
from starlette.applications import Starlette

from edgeferry.core.changes import RpcStatus
from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import Later
from edgeferry.core.record import Outgoing
from edgeferry.gateway import late_answers
from edgeferry.gateway.appender import Appender
from edgeferry.gateway.commands import CommandDesk, request_id_of
from edgeferry.gateway.http import http_routes
from edgeferry.gateway.late_answers import LateAnswers, LookUpPace
from edgeferry.gateway.mqtt.packets import V5, V311
from edgeferry.gateway.ports import Command
from edgeferry.gateway.records import Records
from edgeferry.gateway.server import Gateway
from edgeferry.gateway.state_appends import StateAppends
from tests.unit.gateway.conftest import OpenClient
from tests.unit.gateway.fakes import DEVICE, TOKEN, CountedMetrics, MemoryLog, make_context
from tests.unit.gateway.links import FakeCommands

pytestmark = pytest.mark.asyncio
SENT = Command("rpc-7", "m", "1", attempts=1)
NUMBER = request_id_of(SENT.rpc_id)
TOPIC = f"v1/devices/me/rpc/response/{NUMBER}"
both_versions = pytest.mark.parametrize("version", [V311, V5])


@both_versions
async def test_an_answer_is_acknowledged_when_it_is_durable_in_order(
    client: OpenClient, commands: FakeCommands, log: MemoryLog, version: int
) -> None:
    commands.sent = [SENT, Command("other", "m", "1")]
    log.gate.clear()
    device = await client(version)
    device.publish(1, '{"ok": 1}', TOPIC)
    device.publish(2, '{"t": 1}')
    await device.silent()
    assert log.states() == []
    log.gate.set()
    assert await device.acknowledged(2) == [1, 2]
    assert log.states() == [("rpc-7", "SUCCESSFUL", '{"ok":1}')]


@both_versions
async def test_an_answer_whose_command_cannot_be_looked_up_is_not_acknowledged(
    client: OpenClient, commands: FakeCommands, log: MemoryLog, version: int
) -> None:
    commands.sent, commands.failures = [SENT], 1
    device = await client(version)
    device.publish(1, "true", TOPIC)
    if version == V5:
        assert (await device.receive()).kind == 14
    assert await device.closed()
    again = await client(version)
    again.publish(1, "true", TOPIC)
    assert await again.acknowledged(1) == [1]
    assert log.states() == [("rpc-7", "SUCCESSFUL", "true")]


async def test_an_answer_over_http_is_durable_at_200(
    gateway: Gateway, commands: FakeCommands, log: MemoryLog
) -> None:
    commands.sent, commands.failures = [SENT], 1
    transport = httpx.ASGITransport(Starlette(routes=http_routes(gateway)))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as web:
        path = f"/api/v1/{TOKEN}/rpc/{NUMBER}"
        assert (await web.post(path, content="1")).status_code == 503
        assert log.states() == []
        assert (await web.post(path, content="1")).status_code == 200
        assert log.states() == [("rpc-7", "SUCCESSFUL", "1")]
        assert (await web.post(f"/api/v1/{TOKEN}/rpc/1", content="1")).status_code == 200
    assert len(log.states()) == 1


async def test_a_device_cannot_quicken_the_look_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_answers, "_AT_ONCE", 3)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    clock, kept = ManualClock(), FakeCommands()
    made, records = Records(make_context(MemoryLog(), clock=clock)), list[Outgoing]()
    desk = CommandDesk(
        clock=clock, state=made.command_state, append=lambda more, _: records.extend(more)
    )
    late = LateAnswers(desk=desk, kept=kept, pace=LookUpPace(clock.monotonic))
    kept.sent = [SENT]
    together = await asyncio.gather(*(late.records(DEVICE.id, n, "1") for n in (1, NUMBER, 2, 3)))
    assert [len(found) for found in together] == [0, 1, 0, 0]
    assert kept.look_ups == 2  # the second is shared by all who came before it began
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for _ in range(4):
        await late.records(DEVICE.id, 1, "1")
    assert [round(wait, 1) for wait in waits if wait] == [0.0, 0.5, 1.0]
    waits.clear()
    await late.records("another", 1, "1")
    assert not any(waits)
    kept.failures = 1
    with pytest.raises(Later):
        await late.records("another", NUMBER, "1")
    assert len(await late.records("another", NUMBER, "1")) == 1


async def test_states_that_the_log_did_not_take_are_put_again_in_order() -> None:
    log, clock = MemoryLog(), ManualClock()
    appender = Appender(writer=log, clock=clock, metrics=CountedMetrics())
    made = Records(make_context(log, clock=clock))
    appends, done = StateAppends(appender), list[str]()
    for name in "abc":
        record = made.command_state(DEVICE.id, name, RpcStatus.DELIVERED, "")
        appends.put([record], lambda name=name: done.append(name))  # type: ignore[misc]
    assert (len(appends), done) == (3, [])  # the appender is not running
    appends.check()
    assert len(appends) == 3
    appender.start()
    appends.check()
    async with asyncio.timeout(5):
        while len(done) < 3:
            await asyncio.sleep(0)
    assert ("".join(done), len(appends)) == ("abc", 0)
    assert [rpc_id for rpc_id, _, _ in log.states()] == list("abc")
    await appender.stop(1)
