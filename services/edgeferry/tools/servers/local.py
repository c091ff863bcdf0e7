"""Kafka and Cassandra of one data folder, together."""

import asyncio
from pathlib import Path

from edgeferry.tools.servers.cassandra import Cassandra
from edgeferry.tools.servers.kafka import Kafka
from edgeferry.tools.servers.server import LocalServer, ServerOptions
from edgeferry.tools.supervise import StartFailed


class LocalServers:
    """Each is a ``supervise.Part`` of its own; all state is below ``data``."""

    def __init__(
        self, data: Path, *, cassandra_heap: str = "1G", options: ServerOptions | None = None
    ) -> None:
        options = options or ServerOptions()
        self.kafka = LocalServer(Kafka(), data, options)
        self.cassandra = LocalServer(Cassandra(cassandra_heap), data, options)

    @property
    def all(self) -> tuple[LocalServer, LocalServer]:
        return self.kafka, self.cassandra

    async def start(self) -> None:
        """Start both at the same time; return when both answer. When one fails the other is
        stopped, if it was this start that started it. Raises StartFailed."""
        try:
            async with asyncio.TaskGroup() as group:
                for server in self.all:
                    group.create_task(server.start())
        except* StartFailed as failed:
            first = failed.exceptions[0]
        else:
            return
        raise first

    async def stop(self) -> None:
        await asyncio.gather(*(server.stop() for server in self.all))
