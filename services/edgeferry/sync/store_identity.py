"""The identity of a site's store, by which both sides notice that a store was lost.

It is a random name that is kept in the store itself, so it is lost with it. The other side hears it
in every handshake and remembers it: with another one all is exchanged again (``all_up``,
``all_down``). The data folder remembers it, too, with a number that rises while the site runs: so
the site itself sees at its start that its store is new, is another one, or is an older copy. An
older copy gets a new identity: what it lacks is to be exchanged as well.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from edgeferry.core.errors import Later, Stop
from edgeferry.core.message import EntityType
from edgeferry.core.store import EntityStore, Position, PositionStore
from edgeferry.files.whole import write_whole
from edgeferry.log.port import Topics
from edgeferry.runtime.background import BackgroundService
from edgeferry.sync.handshake import INCARNATION

FILE: Final = "store-identity"
"""In the data folder."""

_TURN_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 10.0

log = logging.getLogger(__name__)

Loss = Literal["new", "another", "older"]


class Identity(NamedTuple):
    """``turn``: rises while the site runs; what is less is of an earlier time."""

    name: str
    turn: int = 0


def loss_of(stored: Identity | None, remembered: Identity | None) -> Loss | None:
    """What became of a store, by what it says of itself and what the data folder remembers."""
    if remembered is None:
        return None
    if stored is None:
        return "new"
    if stored.name != remembered.name:
        return "another"
    return "older" if stored.turn < remembered.turn else None


_WHAT: Final[Mapping[Loss, str]] = {
    "new": "the store of this site is new, though the site is not: what was in it is lost",
    "another": "the store of this site is not the one that it ran with before",
    "older": "the store of this site is an older copy of what it was: what came later is lost",
}
_THEN: Final[Mapping[str, str]] = {
    "edge": (
        "When the Cloud is connected, what waits here goes up, and all that is assigned to this "
        "Edge comes down again: entities, credentials, attributes of SERVER_SCOPE and "
        "SHARED_SCOPE, latest values. What does not come back: the history of time series, "
        "attributes of CLIENT_SCOPE until devices send them again, commands that waited for a "
        "device"
    ),
    "cloud": (
        "Each Edge sends up all that stands there when it connects: entities, credentials, "
        "attributes, and of telemetry what its log still holds. What does not come back: entities "
        "that no Edge has, and that one is assigned to a second Edge; other history of time "
        "series; commands; what an Edge had not been told yet"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreIdentityParts:
    """``readers``: group -> topics, by whose commits a log has a past. ``lost``: called for each
    loss. ``fresh``: makes a name."""

    role: Literal["edge", "cloud"]
    tenant_id: str
    data: Path
    positions: PositionStore
    entities: EntityStore
    topics: Topics
    readers: Mapping[str, Sequence[str]]
    fresh: Callable[[], str]
    lost: Callable[[], None] = lambda: None


class StoreIdentity(BackgroundService):
    """A Service of the process that has the link, started after the log and the store and before
    whatever writes to them."""

    name = "store-identity"

    def __init__(self, parts: StoreIdentityParts) -> None:
        self._parts = parts
        self._file = parts.data / FILE
        super().__init__()

    async def start(self) -> None:
        """A log or a store that is away is no reason not to start: what was lost the other side
        notices all the same."""
        try:
            await self._begin()
        except (Later, Stop) as error:
            log.warning("whether the store is the one of before is looked at later: %s", error)
        await super().start()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_TURN_SECONDS)
            try:
                await self.turn()
            except (Later, Stop) as error:
                log.debug("the identity of the store is looked at later: %s", error)

    async def _begin(self) -> None:
        stored = await self._stored()
        if stored is None and self._remembered() is None and await self._is_lost():
            self._tell("new")
        await self.turn()

    async def turn(self) -> None:
        """Look whether the store is the same, and remember that it was now: there first, so that
        it is never behind what is remembered of it. Raises StoreUnavailable."""
        stored, remembered = await self._stored(), self._remembered()
        loss = loss_of(stored, remembered)
        if loss is not None:
            self._tell(loss)
        if stored is None or loss is not None:
            stored = Identity(self._parts.fresh(), stored.turn if stored is not None else 0)
        following = Identity(stored.name, stored.turn + 1)
        position = Position(0, following.turn, following.name)
        await self._parts.positions.save(INCARNATION, position)
        await asyncio.to_thread(self._remember, following)

    async def _stored(self) -> Identity | None:
        stored = await self._parts.positions.load(INCARNATION)
        return Identity(stored.incarnation, stored.offset) if stored is not None else None

    def _remembered(self) -> Identity | None:
        """None also where the file cannot be read: the next turn writes it anew."""
        try:
            return Identity(*json.loads(self._file.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            log.warning("%s: cannot be read, and is made anew: %s", self._file, error)
            return None

    def _remember(self, identity: Identity) -> None:
        try:
            write_whole(self._file, json.dumps(identity).encode())
        except OSError as error:
            log.warning("%s: cannot be written: %s", self._file, error)

    async def _is_lost(self) -> bool:
        """Of a data folder that remembers nothing: an empty store beside a log that was read
        from. One without an identity that is not empty is of an earlier version."""
        if await self._parts.positions.all():
            return False
        for kind in (EntityType.DEVICE, EntityType.ASSET):
            _, total = await self._parts.entities.page(self._parts.tenant_id, kind, 1, 0)
            if total:
                return False
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                lags = await self._parts.topics.lags(self._parts.readers)
        except TimeoutError:
            return False
        return any(row.committed for rows in lags.values() for row in rows)

    def _tell(self, loss: Loss) -> None:
        self._parts.lost()
        log.warning("%s. %s", _WHAT[loss], _THEN[self._parts.role])
