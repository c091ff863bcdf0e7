"""A client program of a test: what it says, line by line."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

DEADLINE = 60.0


class Program:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[dict[str, Any]] = []

    async def until(self, condition: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
        """The next line of which this holds. Raises TimeoutError; AssertionError at the end."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            while True:
                line = await self._process.stdout.readline()
                assert line, f"the program has ended after {self.said}"
                said: dict[str, Any] = json.loads(line)
                self.said.append(said)
                if condition(said):
                    return said

    async def until_said(self, name: str) -> Any:
        return (await self.until(lambda line: name in line))[name]

    def ask(self, **what: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    def finish(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
