"""A link that is half open: bytes go out, and none come back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from edgeferry.sync.cloud import CloudSync
from edgeferry.tools.bench.cut_link import CutLink
from tests.unit.sync.links import Pair, until

NOTICED_SECONDS = 20.0


async def seconds_until(condition: Callable[[], Awaitable[bool]]) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(90):
        while not await condition():
            await asyncio.sleep(0.05)
    return loop.time() - began


async def connected(cloud: CloudSync) -> bool:
    (edge,) = await cloud.edges()
    return edge.connected


@pytest.mark.asyncio
async def test_it_is_noticed_within_seconds_at_both_ends_and_made_anew(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    async with pair.cloud_runs() as cloud:
        link = CutLink(lambda: ("127.0.0.1", cloud.port))
        await link.start()
        pair.edge_settings = pair.edge_settings.model_copy(update={"address": link.address})
        try:
            async with pair.edge_runs() as edge:
                pair.edge.produce("cloud-events", range(10))
                await until(lambda: edge.status().lanes["cloud-events"].acked == 10)

                async def edge_gone() -> bool:
                    return not edge.status().connected

                async def cloud_gone() -> bool:
                    return not await connected(cloud)

                async with link.cut("silent"):
                    seconds = await asyncio.gather(
                        seconds_until(edge_gone), seconds_until(cloud_gone)
                    )
                    pair.edge.produce("cloud-events", range(10, 20))
                assert max(seconds) < NOTICED_SECONDS
                await until(lambda: edge.status().lanes["cloud-events"].acked == 20, 30)
        finally:
            await link.stop()
    assert pair.arrived() == list(range(20))
