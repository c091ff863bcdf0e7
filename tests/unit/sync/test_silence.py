"""When silence ends a session, and when not. (The real seconds: ``integration/sync``.)"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import Outgoing, PartitionEnds
from edgeferry.sync import link as link_module
from edgeferry.tools.bench.cut_link import CutLink
from tests.unit.sync.links import Pair, until

SILENT_SECONDS = 1.0


class SlowLink(CutLink):
    """As far as it passes anything, so many bytes a second each way."""

    bytes_per_second = 1_000_000

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(len(data) / self.bytes_per_second)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "SILENT_SECONDS", SILENT_SECONDS)
    monkeypatch.setattr(link_module, "BEAT_SECONDS", SILENT_SECONDS / 4)
    monkeypatch.setattr(link_module, "_MADE_SECONDS", SILENT_SECONDS / 8)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest_asyncio.fixture
async def relay(pair: Pair) -> AsyncIterator[SlowLink]:
    """Between the two; the Cloud runs."""
    async with pair.cloud_runs() as cloud:
        link = SlowLink(lambda: ("127.0.0.1", cloud.port))
        await link.start()
        pair.edge_settings = pair.edge_settings.model_copy(update={"address": link.address})
        yield link
        await link.stop()


def connections(caplog: pytest.LogCaptureFixture) -> int:
    return sum(" connected from " in record.getMessage() for record in caplog.records)


@pytest.mark.asyncio
async def test_an_idle_link_lives_on(
    pair: Pair, relay: SlowLink, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with pair.edge_runs() as edge:
            await until(lambda: edge.status().connected)
            until_ = asyncio.get_running_loop().time() + 3 * SILENT_SECONDS
            while asyncio.get_running_loop().time() < until_:
                assert edge.status().connected
                await asyncio.sleep(0.05)
    assert connections(caplog) == 1


@pytest.mark.asyncio
async def test_a_slow_link_with_much_under_way_lives_on(
    pair: Pair, relay: SlowLink, caplog: pytest.LogCaptureFixture
) -> None:
    """A ping's answer would stand in line for several times as long as silence may last."""
    relay.bytes_per_second = 600_000
    for number in range(12):
        value = b"\0\0\0\0\2" + os.urandom(200_000)
        pair.edge.log.add(Outgoing("edge.cloud-events", b"%d" % number, value, ()))
    with caplog.at_level(logging.INFO):
        async with pair.edge_runs() as edge:
            await until(lambda: edge.status().lanes["cloud-events"].acked == 12, 30)
    assert connections(caplog) == 1


@pytest.mark.parametrize("how", ["refuses", "hangs"])
@pytest.mark.asyncio
async def test_a_log_that_does_not_answer_is_no_silence(
    pair: Pair,
    relay: SlowLink,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    async def ends(topic: str) -> Mapping[int, PartitionEnds]:
        if how == "hangs":
            await asyncio.sleep(3600)
        raise LogUnavailable("away")

    with caplog.at_level(logging.INFO):
        async with pair.edge_runs() as edge:
            await until(lambda: edge.status().connected)
            monkeypatch.setattr(pair.edge.reader, "ends", ends)
            until_ = asyncio.get_running_loop().time() + 3 * SILENT_SECONDS
            while asyncio.get_running_loop().time() < until_:
                assert edge.status().connected
                await asyncio.sleep(0.05)
    assert connections(caplog) == 1


@pytest.mark.asyncio
async def test_a_silent_link_ends_at_both_ends(
    pair: Pair, relay: SlowLink, caplog: pytest.LogCaptureFixture
) -> None:
    async with pair.edge_runs() as edge:
        await until(lambda: edge.status().connected)
        with caplog.at_level(logging.INFO):
            async with relay.cut("silent"):
                await until(lambda: not edge.status().connected, 3 * SILENT_SECONDS)
                assert "nothing came from the peer for 1 s" in edge.status().detail
                await until(lambda: "edge-one disconnected: nothing came" in caplog.text, 3)
        await until(lambda: edge.status().connected)
