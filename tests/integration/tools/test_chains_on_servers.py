"""Chains end to end, on Kafka and Cassandra at both ends."""

from pathlib import Path

import httpx
import pytest

from tests.integration.tools.chain_sites import chains, messages_pass
from tests.integration.tools.down import Rest, up

pytestmark = pytest.mark.asyncio


@pytest.mark.usefixtures("emptied")
async def test_messages_pass_through_chains_in_chains_and_calls_are_answered(
    tmp_path: Path, kafka: str, cassandra: str
) -> None:
    servers = ("--kafka", kafka, "--cassandra", cassandra)
    at_edge = ("--edge-log", "kafka", "--edge-store", "cassandra")
    options = (*servers, *at_edge, *chains(tmp_path / "chains"))
    async with up(tmp_path / "data", *options) as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        edge = await Rest(ready, "edge", client).login()
        await cloud.until_known()
        await messages_pass(cloud, edge, ready)
