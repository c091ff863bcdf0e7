"""So many questions of devices at once, and nobody is refused one."""

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from edgeferry.core.kv import AttributeEntry, Scope
from edgeferry.core.record import Outgoing
from edgeferry.gateway import questions
from edgeferry.gateway.mqtt.packets import Subscribe, Subscription
from edgeferry.gateway.not_yet import NotYet
from edgeferry.gateway.questions import Questions
from edgeferry.gateway.server import Gateway
from tests.unit.gateway.conftest import OpenClient
from tests.unit.gateway.fakes import OTHER, MemoryLog
from tests.unit.gateway.links import FakeAttributes

pytestmark = pytest.mark.asyncio


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_who_has_too_many_waits_for_an_answer_and_others_ask_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(questions, "MOST", 4)
    monkeypatch.setattr(questions, "MOST_OF_ONE", 2)
    held: list[asyncio.Event] = []
    begun: list[str] = []
    asked = Questions(asyncio.create_task)

    def ask(who: str) -> None:
        async def work() -> None:
            begun.append(who)
            held.append(asyncio.Event())
            await held[-1].wait()

        asked.ask(who, work)

    waiting: list[asyncio.Task[list[Outgoing]]] = []
    for who in "aabb":
        ask(who)
    for who in "aac":
        with pytest.raises(NotYet) as caught:
            ask(who)
        waiting.append(asyncio.create_task(caught.value.records()))  # type: ignore[arg-type]
    await until(lambda: len(begun) == 4)
    held[2].set()  # one of b: of those who wait c has room
    await until(lambda: len(begun) == 5)
    assert begun[4] == "c"
    await asyncio.sleep(0.02)
    waiting[0].cancel()
    held[0].set()
    await until(lambda: len(begun) == 6)
    assert await waiting[1] == []
    assert len(asked) == 4
    for one in held:
        one.set()
    await until(lambda: len(asked) == 0)


async def test_a_client_that_asks_too_much_is_read_later_and_gets_every_answer(
    client: OpenClient,
    gateway: Gateway,
    attributes: FakeAttributes,
    log: MemoryLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(questions, "MOST_OF_ONE", 3)
    open_, read = asyncio.Event(), attributes.attributes

    async def slow(
        type_: str, device_id: str, scope: Scope, keys: Sequence[str] | None = None
    ) -> Sequence[AttributeEntry]:
        if device_id != OTHER.id:
            await open_.wait()
        return await read(type_, device_id, scope, keys)

    monkeypatch.setattr(attributes, "attributes", slow)
    asking, other = await client(), await client(token=OTHER.token, client_id="other")
    topic = "v1/devices/me/attributes/"
    for device in (asking, other):
        device.send(Subscribe(1, (Subscription(topic + "response/+", 0),)))
        await device.receive()
    for number in range(10):
        asking.publish(0, json.dumps({"sharedKeys": "a"}), f"{topic}request/{number}")
    asking.publish(1, '{"t": 1}')
    await until(lambda: len(gateway.api.questions) == 3)
    other.publish(0, json.dumps({"sharedKeys": "a"}), f"{topic}request/1")
    assert (await other.receive()).topic == f"{topic}response/1"
    assert log.messages() == []
    open_.set()
    got = [await asking.receive() for _ in range(11)]
    assert {p.topic for p in got if p.topic} == {f"{topic}response/{n}" for n in range(10)}
    assert (len(log.messages()), log.dead_letters()) == (1, [])
