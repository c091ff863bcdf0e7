"""The relay that can be cut, between a client and a server of a few lines."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from edgeferry.tools.bench.cut_link import CutLink

TIMEOUT = 5.0


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1000):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest_asyncio.fixture
async def link() -> AsyncIterator[CutLink]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    link = CutLink(lambda: server.sockets[0].getsockname())
    await link.start()
    yield link
    await link.stop()
    server.close()
    await server.wait_closed()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def of(cls, link: CutLink) -> "Client":
        host, _, port = link.address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def answer(self, text: bytes) -> bytes:
        """Empty when the connection ended."""
        async with asyncio.timeout(TIMEOUT):
            try:
                self.writer.write(text)
                return await self.reader.read(1000)
            except ConnectionError:
                return b""

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


@pytest.mark.asyncio
async def test_bytes_pass_both_ways(link: CutLink) -> None:
    client = await Client.of(link)
    assert await client.answer(b"hello") == b"hello"
    client.writer.write_eof()
    async with asyncio.timeout(TIMEOUT):
        assert await client.reader.read(1000) == b""
    await client.close()


@pytest.mark.asyncio
async def test_a_refusing_link_ends_old_connections_and_new_ones(link: CutLink) -> None:
    client = await Client.of(link)
    assert await client.answer(b"before") == b"before"
    async with link.cut("refused"):
        assert await client.answer(b"lost") == b""
        other = await Client.of(link)
        assert await other.answer(b"refused") == b""
    third = await Client.of(link)
    assert await third.answer(b"back") == b"back"
    for each in (client, other, third):
        await each.close()


@pytest.mark.asyncio
async def test_a_silent_link_keeps_connections_and_passes_nothing(link: CutLink) -> None:
    client = await Client.of(link)
    assert await client.answer(b"before") == b"before"
    async with link.cut("silent"):
        answer = asyncio.create_task(client.answer(b"late"))
        done, _ = await asyncio.wait([answer], timeout=0.2)
        assert not done
    assert await answer == b"late"
    await client.close()


@pytest.mark.asyncio
async def test_a_link_that_is_cut_stops_in_order() -> None:
    def nobody() -> tuple[str, int]:
        raise ConnectionError("there is no Cloud yet")

    link = CutLink(nobody)
    await link.start()
    async with link.cut("silent"):
        client = await Client.of(link)
        async with asyncio.timeout(TIMEOUT):
            while not link.connections:
                await asyncio.sleep(0.01)
            await link.stop()
    assert await client.answer(b"x") == b""
    assert link.connections == 0
    await client.close()
