"""Commands under way: their states, once each."""

from collections.abc import Callable

from edgeferry.core.changes import RpcChange, RpcStatus
from edgeferry.core.clock import ManualClock
from edgeferry.core.record import Outgoing
from edgeferry.gateway.commands import NEVER_ANSWERED_MS, CommandDesk, request_id_of
from edgeferry.gateway.ports import Command, Handed
from edgeferry.gateway.records import Records
from edgeferry.log.change_codec import decode_change
from tests.unit.gateway.fakes import DEVICE, MemoryLog, make_context
from tests.unit.gateway.links import FakeLink


class Bed:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.records: list[Outgoing] = []
        made = Records(make_context(MemoryLog(), clock=self.clock))
        self.desk = CommandDesk(clock=self.clock, state=made.command_state, append=self._append)
        self.log_is_away = False
        self.waiting: list[Callable[[], None]] = []

    def _append(self, records: list[Outgoing], done: Callable[[], None]) -> None:
        self.records += records
        if self.log_is_away:
            self.waiting.append(done)
        else:
            done()

    def states(self) -> list[tuple[str, str]]:
        found = [decode_change(record.value) for record in self.records]
        assert all(isinstance(change, RpcChange) for change in found)
        return [(c.rpc_id, c.status) for c in found if isinstance(c, RpcChange)]

    def command(self, rpc_id: str = "a", expires_ms: int = 0) -> Command:
        return Command(rpc_id, "setValue", "1", expires_ms)


def test_a_command_is_sent_delivered_and_answered_once_each() -> None:
    bed, link = Bed(), FakeLink()
    assert bed.desk.send(DEVICE.id, bed.command(), link)
    assert not bed.desk.send(DEVICE.id, bed.command(), link)
    ((request_id, _),) = link.given
    for _ in range(2):
        bed.desk.delivered(DEVICE.id, request_id)
    bed.records += bed.desk.answered(DEVICE.id, request_id, '{"ok":true}')
    assert bed.desk.answered(DEVICE.id, request_id, "{}") == []
    assert bed.states() == [("a", RpcStatus.DELIVERED), ("a", RpcStatus.SUCCESSFUL)]
    last = decode_change(bed.records[-1].value)
    assert isinstance(last, RpcChange)
    assert last.body == '{"ok":true}'
    assert (bed.records[-1].topic, bed.records[-1].key) == (
        "edge.attribute-changes", DEVICE.id.encode(),
    )  # fmt: skip
    assert len(bed.desk) == 0


def test_an_answer_before_the_confirmation_stands_for_it() -> None:
    bed, link = Bed(), FakeLink()
    bed.desk.send(DEVICE.id, bed.command(), link)
    bed.records += bed.desk.answered(DEVICE.id, link.given[0][0], "{}")
    bed.desk.delivered(DEVICE.id, link.given[0][0])
    assert [state for _, state in bed.states()] == ["DELIVERED", "SUCCESSFUL"]


def test_another_device_cannot_answer() -> None:
    bed, link = Bed(), FakeLink()
    bed.desk.send(DEVICE.id, bed.command(), link)
    assert bed.desk.answered("other", link.given[0][0], "{}") == []


def test_a_one_way_command_is_done_when_it_is_delivered() -> None:
    bed, link = Bed(), FakeLink()
    bed.desk.send(DEVICE.id, Command("a", "m", "1", oneway=True), link)
    assert bed.states() == []
    bed.desk.delivered(DEVICE.id, link.given[0][0])
    assert [state for _, state in bed.states()] == ["DELIVERED", "SUCCESSFUL"]


def test_a_command_is_known_until_its_end_is_durable() -> None:
    for command in (Command("a", "m", "1", oneway=True), Command("a", "m", "1", expires_ms=10**15)):
        bed, link = Bed(), FakeLink()
        bed.log_is_away = True
        bed.desk.send(DEVICE.id, command, link)
        number = link.given[0][0]
        if command.oneway:
            bed.desk.delivered(DEVICE.id, number)
        else:
            bed.clock.advance(10**12)
        for _ in range(2):
            bed.desk.check()
        assert [state for _, state in bed.states()][-1:] == (
            ["SUCCESSFUL"] if command.oneway else ["EXPIRED"]
        )
        assert bed.desk.knows("a")
        assert not bed.desk.wants(DEVICE.id, number)
        bed.desk.release(link.owner)
        assert not bed.desk.send(DEVICE.id, command, FakeLink())
        assert bed.desk.answered(DEVICE.id, number, "{}") == []
        count = len(bed.records)
        for done in bed.waiting:
            done()
        assert (len(bed.desk), len(bed.records)) == (0, count)


def test_an_expired_command_is_never_sent() -> None:
    bed, link = Bed(), FakeLink()
    now_ms = bed.clock.now_ms()
    assert not bed.desk.send(DEVICE.id, bed.command(expires_ms=now_ms), link)
    assert (link.given, bed.records) == ([], [])


def test_a_command_that_runs_out_of_time_says_so() -> None:
    bed, link = Bed(), FakeLink()
    bed.desk.send(DEVICE.id, bed.command(expires_ms=bed.clock.now_ms() + 5_000), link)
    bed.desk.send(DEVICE.id, bed.command("b"), link)
    bed.clock.advance(5)
    number = link.given[0][0]
    assert not bed.desk.wants(DEVICE.id, number)
    assert bed.desk.answered(DEVICE.id, number, "{}") == []
    bed.desk.check()
    assert bed.states() == [("a", RpcStatus.EXPIRED)]
    bed.clock.advance(NEVER_ANSWERED_MS / 1000)
    bed.desk.check()
    assert (len(bed.desk), len(bed.records)) == (0, 1)


def test_what_a_session_took_to_its_end_is_sent_again_with_the_same_number() -> None:
    bed, first, second = Bed(), FakeLink(), FakeLink()
    bed.desk.send(DEVICE.id, bed.command(), first)
    bed.desk.release(first.owner)
    assert bed.desk.send(DEVICE.id, bed.command(), second)
    assert first.given == second.given
    assert bed.states() == []
    bed.desk.delivered(DEVICE.id, second.given[0][0])
    bed.desk.release(second.owner)
    assert not bed.desk.send(DEVICE.id, bed.command(), first)


def test_what_a_link_cannot_take_waits_for_the_next() -> None:
    bed, link = Bed(), FakeLink()
    for no_link in (FakeLink(Handed.REFUSED), None):
        assert not bed.desk.send(DEVICE.id, bed.command(), no_link)
    assert bed.desk.knows("a")
    assert bed.desk.send(DEVICE.id, bed.command(), link)
    assert (len(link.given), bed.records) == (1, [])


def test_what_nobody_knows_the_device_to_have_is_left_to_what_is_kept_of_it() -> None:
    bed, link = Bed(), FakeLink()
    bed.desk.send(DEVICE.id, bed.command(), link)
    number = link.given[0][0]
    bed.desk.unsure(DEVICE.id, number)
    assert (bed.desk.knows("a"), bed.states()) == (False, [])
    bed.desk.unsure(DEVICE.id, number)
    bed.desk.delivered(DEVICE.id, number)
    assert bed.states() == []
    bed.desk.send(DEVICE.id, bed.command("b"), link)
    number = link.given[1][0]
    bed.desk.delivered(DEVICE.id, number)
    bed.desk.unsure(DEVICE.id, number)
    assert bed.desk.knows("b")


def test_the_number_of_a_command_is_the_same_from_every_process() -> None:
    given = []
    for _ in range(2):
        bed, link = Bed(), FakeLink()
        bed.desk.send(DEVICE.id, bed.command("b"), link)
        given.append(link.given[0][0])
    assert given == [request_id_of("b")] * 2
