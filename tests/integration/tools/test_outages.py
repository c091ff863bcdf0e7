"""A whole installation whose records are broken and whose servers are killed under load:
what is bad is set aside with its address, what was acknowledged arrives."""

import struct
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from edgeferry.log.schemas import newest_id
from edgeferry.rules.loader import load_chain
from edgeferry.rules.processor import input_topics
from edgeferry.sync.lanes import UP
from edgeferry.tools.bench.installation import running
from tests.integration.tools.two_ends import TwoEnds, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEVICES = 3
CHAIN_TOPICS = [
    *input_topics("edge", load_chain("edge_root", "edge"), root=True),
    *input_topics("cloud", load_chain("cloud_root", "cloud"), root=True),
]
RECEIVED_TOPICS = [f"cloud.{lane}" for lane in UP]
UNKNOWN_SCHEMA = struct.pack(">bI", 0, 4_000_000_000) + b"of a later version"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ends(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoEnds]:
    data = tmp_path_factory.mktemp("outages") / "data"
    async with httpx.AsyncClient() as client, running(data, DEVICES, ()) as installation:
        yield TwoEnds(installation, client)


def bad_values(subject: str) -> list[bytes | None]:
    cut = struct.pack(">bI", 0, newest_id(subject)) + b"\x02"
    return [b"\xff\x00 garbage", UNKNOWN_SCHEMA, cut, None]


async def test_an_undecodable_record_in_any_topic_is_set_aside_whole_and_the_stream_goes_on(
    ends: TwoEnds,
) -> None:
    expected = ends.append(
        ends.devices[0][0].encode(),
        {
            **{topic: bad_values("RuleMessage") for topic in CHAIN_TOPICS},
            **{topic: bad_values("CloudEvent") for topic in RECEIVED_TOPICS},
        },
    )

    async def set_aside() -> bool:
        return dict(await ends.dead_letters()).keys() >= expected.keys()

    await until(set_aside)
    await ends.until_it_flows("after_bad_records")
    letters = [letter for letter in await ends.dead_letters() if letter[0] in expected]
    assert len(letters) == len(expected)
    assert dict(letters) == expected
