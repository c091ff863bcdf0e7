"""The Kafka and Cassandra that ``edgeferry up`` starts for its data folder, where a site
stands on them."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from edgeferry.core.clock import Clock
from edgeferry.runtime.settings import Settings
from edgeferry.tools.shape import SiteShape
from edgeferry.tools.supervise import Supervisor

if TYPE_CHECKING:
    from edgeferry.tools.servers import LocalServer, LocalServers


class FolderServers:
    """Nothing is imported or looked at for a folder that has none."""

    def __init__(self, data: Path, say: Callable[[str], None], clock: Clock) -> None:
        self._data = data
        self._say = say
        self._clock = clock
        self._made: LocalServers | None = None

    def addresses(self) -> dict[str, str]:
        """host:port by name, of those that were ever started here."""
        if not any((self._data / name).exists() for name in ("kafka", "cassandra")):
            return {}
        return {server.name: server.address for server in self._servers().all if server.address}

    async def start(self, shapes: Iterable[SiteShape], supervisor: Supervisor) -> dict[str, str]:
        """Start what the sites need, at the same time; ``addresses``. Raises StartFailed."""
        used = {each for shape in shapes for each in shape.started_here()}
        if used:
            servers = [server for server in self._servers().all if server.name in used]
            names = " and ".join(server.name.capitalize() for server in servers)
            self._say(f"starting {names} (about half a minute)")
            async with asyncio.TaskGroup() as group:
                for server in servers:
                    group.create_task(self._started(server, supervisor))
        return self.addresses()

    async def apply_topics(self, settings: Settings) -> None:
        """Raises LogUnavailable, Stop."""
        from edgeferry.tools.topics import apply_topics

        made = await apply_topics(settings)
        if made:
            self._say(f"made {len(made)} topics of the {settings.role.capitalize()}")

    async def _started(self, server: "LocalServer", supervisor: Supervisor) -> None:
        began = self._clock.monotonic()
        await supervisor.start(server)
        seconds = self._clock.monotonic() - began
        self._say(f"{server.name.capitalize()} answers after {seconds:.0f} s")

    def _servers(self) -> "LocalServers":
        if self._made is None:
            from edgeferry.tools.servers import LocalServers, ServerOptions

            self._made = LocalServers(self._data, options=ServerOptions(tied=True, say=self._say))
        return self._made
