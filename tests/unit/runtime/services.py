"""Services to watch a process with."""

from edgeferry.runtime.service import Health


class Recorded:
    """Writes what happens to it into ``events``, which services share."""

    def __init__(self, name: str, events: list[str], *, health: Health | None = None) -> None:
        self._name = name
        self._events = events
        self._health = health or Health(True, True)

    @property
    def name(self) -> str:
        return self._name

    async def start(self) -> None:
        self._events.append(f"start {self._name}")

    async def stop(self) -> None:
        self._events.append(f"stop {self._name}")

    def health(self) -> Health:
        return self._health
