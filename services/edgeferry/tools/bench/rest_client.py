"""A site's REST interface for benchmarks: connections that stay open, so that the caller
costs little of what is measured."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from edgeferry.core.errors import Stop
from edgeferry.tools.demonstration import PASSWORD_VARIABLE

_ANSWER_SECONDS: Final = 30.0
_UNAUTHORIZED: Final = 401


class Answer(NamedTuple):
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class _Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class RestClient:
    """``address``: host:port. ``admin``: as the ready line of ``up`` has it."""

    def __init__(self, address: str, admin: Mapping[str, str | None]) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host, int(port)
        self._admin = admin
        self._token = ""
        self._free: list[_Connection] = []

    def close(self) -> None:
        for connection in self._free:
            connection.writer.close()
        self._free.clear()

    async def call(self, method: str, path: str, body: object = None) -> Answer:
        """As the administrator. Raises OSError, TimeoutError: then nobody knows what became
        of it. Raises Stop where the login is refused."""
        if not self._token:
            await self._login()
        answer = await self._call(method, path, body)
        if answer.status == _UNAUTHORIZED:
            await self._login()
            answer = await self._call(method, path, body)
        return answer

    async def _login(self) -> None:
        file = self._admin["password_file"]
        password = Path(file).read_text().strip() if file else os.environ[PASSWORD_VARIABLE]
        body = {"username": self._admin["username"], "password": password}
        answer = await self._call("POST", "/api/auth/login", body)
        if answer.status != 200:
            raise Stop(f"the login at {self._host}:{self._port} is refused: {answer.body.decode()}")
        self._token = answer.json["token"]

    async def _call(self, method: str, path: str, body: object) -> Answer:
        content = b"" if body is None else orjson.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            f"X-Authorization: Bearer {self._token}\r\n\r\n"
        )
        async with asyncio.timeout(_ANSWER_SECONDS):
            connection = await self._connection()
            try:
                connection.writer.write(head.encode() + content)
                answer = await _read(connection.reader)
            except BaseException:
                connection.writer.close()
                raise
        self._free.append(connection)
        return answer

    async def _connection(self) -> _Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.close()
        return _Connection(*await asyncio.open_connection(self._host, self._port))


async def _read(reader: asyncio.StreamReader) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        body = await reader.readexactly(int(fields.get("content-length", 0)))
    except asyncio.IncompleteReadError as error:
        raise ConnectionResetError("the site closed the connection") from error
    return Answer(int(first.split(" ", 2)[1]), body)
