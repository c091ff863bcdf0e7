"""Dead letters are replayed: what the log, and the intake behind it, get of them."""

import json
from pathlib import Path

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.events import CloudEvent
from edgeferry.core.kv import TsPoint
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import Headers, Outgoing, Record
from edgeferry.log.codec import (
    decode_message,
    encode_cloud_event,
    encode_dead_letter,
    encode_message,
)
from edgeferry.streams.processor import Outputs, TopicPartition
from edgeferry.sync.intake import Intake
from edgeferry.tools.dead_letters import _fields
from edgeferry.tools.replay import Address, Replay, Replayed, replay_all, replay_letters
from tests.unit.sync.fakes import MemoryLog, MemoryPositions, MemoryReader, MemoryWriter

TELEMETRY = "TIMESERIES_UPDATED"
RECEIVED = "cloud.cloud-events-ts"
LETTERS = "cloud.dead-letters"
AT = TopicPartition(RECEIVED, 0)

E1 = b"00000000-0000-1000-8000-000000000001"
E2 = b"00000000-0000-1000-8000-000000000002"


def of_link(edge: bytes, epoch: bytes, offset: bytes) -> Headers:
    return (("edge", edge), ("epoch", epoch), ("offset", offset))


EVENT = Record(RECEIVED, 0, 0, 1, b"d", b"", (("origin", b"edge"), *of_link(E1, b"1", b"7")))
"""As it was received over the link; its value is to be given."""


class World:
    def __init__(self) -> None:
        self.log = MemoryLog(ManualClock())
        self.log.make(RECEIVED, 1)
        self.log.make(LETTERS, 1)
        self.reader = MemoryReader(self.log)
        self.taken = 0
        self.intake = Intake(
            site="cloud",
            tenant_id="tenant",
            reader=self.reader,
            positions=MemoryPositions(),
            clock=self.log.clock,
        )

    def receive(self, record: Record) -> None:
        assert record.value is not None
        self.log.add(Outgoing(RECEIVED, record.key, record.value, record.headers))

    def bury(self, letter: DeadLetter) -> Address:
        self.log.add(Outgoing(LETTERS, letter.key, encode_dead_letter(letter)))
        return Address(0, len(self.log.records(LETTERS)) - 1)

    async def replay(self, *addresses: Address) -> Replay:
        writer = MemoryWriter(self.log)
        return await replay_letters(
            reader=self.reader,
            writer=writer,
            topic=LETTERS,
            addresses=addresses,
            existing={RECEIVED, LETTERS},
        )

    async def takes_in(self) -> Outputs:
        """What the intake makes of all that it has not taken yet."""
        records = self.log.records(RECEIVED)[self.taken :]
        self.taken += len(records)
        outputs = Outputs()
        await self.intake.process(records, outputs)
        await self.intake.delivered(records)
        return outputs


def letter_of(record: Record, node: str = "intake") -> DeadLetter:
    return DeadLetter(
        key=record.key, value=record.value, headers=record.headers, topic=record.topic,
        partition=record.partition, offset=record.offset, site="cloud", chain="", node=node,
        error_class="Undecodable", error_text="why", first_failure=1, last_failure=1, attempts=1,
    )  # fmt: skip


def event(action: str, number: int) -> bytes:
    return encode_cloud_event(
        CloudEvent(
            id=f"e-{number}", created_time=1, stamp=1, tenant_id="t", action=action,
            type="DEVICE", entity_type="DEVICE", entity_id="d", entity_name="", entity_profile="",
            timeseries=[TsPoint(number, {"n": number})],
        )
    )  # fmt: skip


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.asyncio
async def test_the_intake_tries_its_replayed_dead_letter_again(world: World) -> None:
    await world.intake.assigned({AT: 0})
    world.receive(EVENT._replace(value=event("OF_A_NEWER_VERSION", 7)))
    (dead,) = (await world.takes_in()).dead
    address = world.bury(letter_of(dead.record))

    assert await world.replay(address) == Replay([(address, RECEIVED)], [])

    (again,) = (await world.takes_in()).dead  # this Cloud is no newer
    assert again.record[3:] == (dead.record.timestamp, b"d", dead.record.value, [EVENT.headers[0]])
    assert world.intake.repeats == 0


@pytest.mark.asyncio
async def test_what_the_intake_can_read_by_now_enters_the_chain(world: World) -> None:
    await world.intake.assigned({AT: 0})
    world.receive(EVENT._replace(value=b"junk"))
    (dead,) = (await world.takes_in()).dead
    await world.replay(world.bury(letter_of(dead.record)._replace(value=event(TELEMETRY, 7))))
    (message,) = (await world.takes_in()).records
    assert json.loads(decode_message(message.value).data) == {"n": 7}


@pytest.mark.asyncio
async def test_a_senders_own_headers_do_not_take_the_place_of_the_links(world: World) -> None:
    await world.intake.assigned({AT: 0})
    forged = (*of_link(E2, b"9", b"999"), *of_link(E1, b"1", b"7"))
    letter = letter_of(EVENT._replace(value=event(TELEMETRY, 7), headers=forged))
    await world.replay(world.bury(letter))
    value = event(TELEMETRY, 1)
    world.receive(EVENT._replace(value=value, headers=of_link(E2, b"1", b"1")))
    assert len((await world.takes_in()).records) == 2


@pytest.mark.asyncio
async def test_what_is_no_record_is_refused_and_the_others_are_replayed(world: World) -> None:
    good = letter_of(EVENT._replace(value=event(TELEMETRY, 7)))
    payload = good._replace(
        topic="v1/devices/me/telemetry", partition=-1, offset=-1, node="gateway", value=b"{"
    )
    gone = good._replace(value=None, error_text="the sender's log alone holds it")
    large = good._replace(value=b"x" * 1_000_001)
    homeless = good._replace(topic="cloud.cloud_root.old")
    addresses = [world.bury(letter) for letter in (payload, good, gone, large, good, homeless)]

    done = await world.replay(*addresses, Address(0, 99))

    assert done.replayed == [(addresses[1], RECEIVED), (addresses[4], RECEIVED)]
    assert [record.value for record in world.log.records(RECEIVED)] == [good.value] * 2
    assert "\n".join(done.refused) == (
        "0:0: not a record but a bad payload that a device sent to v1/devices/me/telemetry; "
        "`edgeferry dead-letters show` gives it: publish it again, corrected\n"
        "0:2: nothing to replay, it holds no value (the sender's log alone holds it)\n"
        "0:3: its value of 1000001 bytes is above the log's limit of 1000000 bytes: its sender "
        "has to make smaller ones\n"
        "0:5: its topic cloud.cloud_root.old does not exist any more: its node left the chain\n"
        "0:99: there is no dead letter 0:99 in cloud.dead-letters: `edgeferry dead-letters list`"
    )


def test_a_letter_answers_what_from_whom_where_why_when_and_what_next() -> None:
    message = RuleMessage(
        "m", "t", 1, 1, [], TELEMETRY, "DEVICE", "d", {"deviceName": "pump-1"}, "JSON", '{"a": 1}'
    )
    at = EVENT._replace(topic="cloud.cloud_root.save", offset=42, value=encode_message(message))
    letter = letter_of(at)._replace(chain="cloud_root", node="save", attempts=3)
    assert dict(_fields(Address(0, 7), letter)) == {
        "address": "0:7, of site cloud",
        "what": TELEMETRY,
        "from": "pump-1",
        "where": "cloud_root.save (record cloud.cloud_root.save-0:42)",
        "why": "Undecodable: why",
        "when": "1970-01-01 00:00:00.001Z (3 tries, the first at 1970-01-01 00:00:00.001Z)",
        "headers": f"origin=edge edge={E1.decode()} epoch=1 offset=7",
        "body": '{"a": 1}',
        "next": "when the cause is gone: `edgeferry dead-letters replay 0:7`",
    }


def test_a_bad_payload_is_shown_as_it_came_with_what_to_do() -> None:
    letter = letter_of(EVENT, node="gateway")._replace(
        topic="v1/devices/me/telemetry", partition=-1, offset=-1, value=b"{\xff"
    )
    fields = dict(_fields(Address(0, 0), letter))
    assert fields["what"] == "payload for v1/devices/me/telemetry"
    assert (fields["where"], fields["body"]) == ("gateway", "{\\xff")
    assert "send again, corrected" in str(fields["next"])


@pytest.mark.asyncio
async def test_a_rule_node_may_be_called_gateway(world: World) -> None:
    address = world.bury(letter_of(EVENT._replace(value=b"v"), node="gateway"))
    assert (await world.replay(address)).replayed == [(address, RECEIVED)]


@pytest.mark.asyncio
async def test_all_that_are_open_are_replayed_and_marked_once(world: World, tmp_path: Path) -> None:
    good = letter_of(EVENT._replace(value=event(TELEMETRY, 7)))
    payload = good._replace(topic="v1/devices/me/telemetry", partition=-1, node="gateway")
    homeless = good._replace(topic="cloud.cloud_root.old")
    addresses = [world.bury(letter) for letter in (good, payload, homeless, good)]
    world.log.add(Outgoing(LETTERS, b"k", b"no letter"))
    ends = await world.reader.ends(LETTERS)

    async def all_open() -> Replay:
        marks = Replayed(tmp_path, LETTERS, "id")
        return await replay_all(
            reader=world.reader,
            writer=MemoryWriter(world.log),
            topic=LETTERS,
            wanted=lambda address, letter: marks.at_ms(address) is None,
            existing={RECEIVED},
            keep=lambda done: marks.keep(done, 5, ends),
        )

    done = await all_open()
    assert done.replayed == [(addresses[0], RECEIVED), (addresses[3], RECEIVED)]
    assert done.payloads == [addresses[1]]
    assert [line.split(": ")[0] for line in done.refused] == ["0:2", "0:4"]
    assert Replayed(tmp_path, LETTERS, "id").at_ms(addresses[3]) == 5
    assert (await all_open()).replayed == []
    later = world.bury(good)
    assert (await all_open()).replayed == [(later, RECEIVED)]
    assert Replayed(tmp_path, LETTERS, "another").at_ms(addresses[3]) is None
