"""The link between an Edge and its Cloud as something that can be cut: a relay on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Literal

_CHUNK = 65_536

How = Literal["refused", "silent"]
Address = tuple[str, int]


class CutLink:
    """A TCP relay. Cut ``refused``: connections end, new ones too, at once. Cut ``silent``:
    they stay, and nothing passes, as when a cable is pulled; what was under way passes later
    if both ends still care."""

    def __init__(self, target: Callable[[], Address]) -> None:
        """``target`` is asked at each connection. It raises OSError while there is none."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[object] | None] = set()
        self._refusing = False
        self._passing = asyncio.Event()
        self._passing.set()

    @property
    def address(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    @property
    def connections(self) -> int:
        """That were taken and have not ended."""
        return len(self._serving)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._drop()
            self._passing.set()
            await asyncio.gather(*filter(None, self._serving), return_exceptions=True)
            await self._server.wait_closed()

    @asynccontextmanager
    async def cut(self, how: How) -> AsyncIterator[None]:
        if how == "refused":
            self._refusing = True
            self._drop()
        else:
            self._passing.clear()
        try:
            yield
        finally:
            self._refusing = False
            self._passing.set()

    def _drop(self) -> None:
        for end in self._ends:
            end.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._serving.add(task)
        try:
            with self._kept(writer):
                await self._passing.wait()
                if not self._refusing:
                    await self._join(reader, writer)
        except* OSError:
            pass  # an end that breaks off is what this is for
        finally:
            self._serving.discard(task)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Raises OSError, and a group of them."""
        far_reader, far_writer = await asyncio.open_connection(*self._target())
        with self._kept(far_writer):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, far_writer))
                group.create_task(self._pass_on(far_reader, writer))

    @contextlib.contextmanager
    def _kept(self, end: asyncio.StreamWriter) -> Iterator[None]:
        self._ends.add(end)
        try:
            yield
        finally:
            self._ends.discard(end)
            end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until one end closes; then the other one is told so, too. Raises OSError."""
        while data := await reader.read(_CHUNK):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
