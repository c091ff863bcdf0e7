"""Records of foreign writers, as only Kafka takes them: no hop stops at one."""

from collections.abc import Sequence

import pytest

from edgeferry.core.errors import Undecodable
from edgeferry.core.record import Record
from edgeferry.log.codec import decode_dead_letter
from tests.foreign_headers import RawName, append_foreign
from tests.integration.streams.beds import Bed
from tests.integration.streams.harness import FIRST, Forward, until

pytestmark = pytest.mark.asyncio


async def _refuse_junk(records: Sequence[Record]) -> None:
    if any(record.value == b"junk" for record in records):
        raise Undecodable("junk")


async def test_a_hop_makes_a_dead_letter_of_any_record_and_goes_on(
    kafka: str, on_kafka: Bed
) -> None:
    await append_foreign(
        kafka,
        f"{on_kafka.site}.{FIRST}",
        [("null", None), ("text", b"1")],
        [(RawName(b"h\xff"), b"2")],
    )
    await on_kafka.load(0, 50)
    runner = on_kafka.runner(Forward(on_kafka.site, before=_refuse_junk))
    await runner.start()

    async def both_are_dead() -> bool:
        return await on_kafka.count("dead-letters") == 2

    await until(both_are_dead, 30, "no dead letters")
    await on_kafka.all_arrived(50)
    letters = [decode_dead_letter(row.value) for row in await on_kafka.read_all("dead-letters")]
    assert sorted(list(letter.headers) for letter in letters) == [
        [("h?", b"2")],
        [("null", b""), ("text", b"1")],
    ]
    await on_kafka.drained()
    assert runner.health().ready
    await runner.stop()
