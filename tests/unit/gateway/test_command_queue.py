"""Commands that are claimed before a session gets them."""

import asyncio

import pytest

from edgeferry.core.changes import RpcChange
from edgeferry.core.clock import ManualClock
from edgeferry.core.record import Outgoing
from edgeferry.gateway import command_queue
from edgeferry.gateway.command_queue import CommandQueue
from edgeferry.gateway.commands import CommandDesk
from edgeferry.gateway.ports import Command
from edgeferry.gateway.records import Records
from edgeferry.log.change_codec import decode_change
from tests.unit.gateway.fakes import DEVICE, MemoryLog, make_context
from tests.unit.gateway.links import FakeCommands, FakeLink

pytestmark = pytest.mark.asyncio


class Bed:
    def __init__(self) -> None:
        self.kept = FakeCommands()
        self.link: FakeLink | None = FakeLink()
        self.records: list[Outgoing] = []
        self.tasks: list[asyncio.Task[None]] = []
        made = Records(make_context(MemoryLog()))
        self.desk = CommandDesk(
            clock=ManualClock(),
            state=made.command_state,
            append=lambda records, done: self.records.extend(records),
        )
        self.queue = CommandQueue(
            desk=self.desk,
            kept=self.kept,
            link_of=lambda _: self.link,
            spawn=lambda work: self.tasks.append(asyncio.create_task(work)),
        )

    async def put(self, *commands: Command) -> list[str]:
        """What the link has been given when all is done."""
        for command in commands:
            self.queue.put(DEVICE.id, command)
        await asyncio.gather(*self.tasks)
        return [command.rpc_id for _, command in self.link.given] if self.link else []

    def states(self) -> list[tuple[str, str]]:
        found = [decode_change(record.value) for record in self.records]
        return [(one.rpc_id, one.status) for one in found if isinstance(one, RpcChange)]


def command(rpc_id: str, *, attempts: int = 0, retries: int = 0) -> Command:
    return Command(rpc_id, "m", "1", attempts=attempts, retries=retries)


async def test_commands_are_claimed_once_and_sent_in_order() -> None:
    bed = Bed()
    assert await bed.put(*map(command, "abca")) == ["a", "b", "c"]
    assert await bed.put(command("b"), command("d")) == ["a", "b", "c", "d"]
    assert bed.kept.claimed == ["a", "b", "c", "d"]


async def test_what_another_process_has_claimed_or_has_ended_is_not_sent() -> None:
    bed = Bed()
    bed.kept.taken = {"b"}
    assert await bed.put(*map(command, "abc")) == ["a", "c"]


async def test_what_was_sent_by_a_process_that_is_gone_is_not_sent_again() -> None:
    bed = Bed()
    assert await bed.put(command("a", attempts=1)) == []
    assert (bed.kept.claimed, bed.states()) == ([], [])


async def test_with_retries_it_is_sent_again_and_fails_when_they_are_used_up() -> None:
    bed = Bed()
    again = [command("a", attempts=1, retries=2), command("b", attempts=2, retries=2)]
    assert await bed.put(*again, command("c", attempts=3, retries=2)) == ["a", "b"]
    assert bed.states() == [("c", "FAILED")]


async def test_a_claim_that_cannot_be_made_is_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_queue, "_RETRY_SECONDS", 0)
    bed = Bed()
    bed.kept.failures = 2
    assert await bed.put(*map(command, "ab")) == ["a", "b"]


async def test_without_a_link_nothing_is_claimed_and_what_was_waits_for_the_next() -> None:
    bed = Bed()
    link, bed.link = bed.link, None
    await bed.put(command("a"))
    assert bed.kept.claimed == []
    bed.link = link
    bed.queue.put(DEVICE.id, command("a"))
    await asyncio.sleep(0)  # it is being claimed
    bed.link = None
    await bed.put()
    assert bed.kept.claimed == ["a"]
    bed.link = link
    assert await bed.put(command("a", attempts=1)) == ["a"]
    assert bed.kept.claimed == ["a"]
