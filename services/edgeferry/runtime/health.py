"""The health of a process: of all its services together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from edgeferry.runtime.service import Health, Service


class Overall(NamedTuple):
    """alive and ready when every part is; ``parts`` by service name."""

    alive: bool
    ready: bool
    parts: Mapping[str, Health]


class HealthBoard:
    """Made first and handed to the probes; ``Process`` fills it when the services are known."""

    def __init__(self) -> None:
        self._services: Sequence[Service] = ()
        self._started = False

    def watch(self, services: Sequence[Service]) -> None:
        """These are the services of the process; they are only about to start."""
        self._services = services
        self._started = False

    def started(self, yes: bool) -> None:
        """Whether all have started and none is being stopped."""
        self._started = yes

    def overall(self) -> Overall:
        """Also answers while services start: alive, not ready."""
        parts = {service.name: service.health() for service in self._services}
        alive = all(part.alive for part in parts.values())
        ready = self._started and all(part.ready for part in parts.values())
        return Overall(alive=alive, ready=ready, parts=parts)
