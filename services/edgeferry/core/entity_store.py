"""The ports to entities, their credentials and assignments, and to commands for devices."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from edgeferry.core.changes import RpcStatus


class Entity(NamedTuple):
    """What is known of an entity. ``additional_info``: JSON text of an object. Version 0: a
    shell, made for data that came before its entity. ``event_id``: of the change that made it
    what it is. ``decisions``: what was decided lately, as the owner of changes writes it."""

    entity_type: str
    entity_id: str
    tenant_id: str
    name: str
    profile: str
    created_time: int
    version: int
    origin: str
    label: str = ""
    additional_info: str = "{}"
    event_id: str = ""
    deleted: bool = False
    decisions: str = ""


class Credentials(NamedTuple):
    """``body``: JSON text of an object, see ``core.credentials``. The store keeps it sealed, and
    finds it by a keyed hash of its ``credentialsId``, whatever its type."""

    entity_type: str
    entity_id: str
    body: str
    version: int
    origin: str
    event_id: str = ""


def maker_of(entity: Entity | None) -> str:
    """The origin that made it; empty for one that is older than this is kept."""
    if entity is None:
        return ""
    found = json.loads(entity.additional_info or "{}").get(MADE_BY)
    return found if isinstance(found, str) else ""


LAST_GATEWAY: Final = "lastConnectedGateway"
"""In additionalInfo: the id of the gateway that made the device; no other may speak for it. A
save that does not name it leaves it as it is."""

MADE_BY: Final = "madeBy"
"""In additionalInfo as it is stored: the origin of the first change, that which made the entity.
No save changes it, and nobody but the sites sees it."""

EntityKey = tuple[str, str]
"""Type and id."""


class EntityOrder(StrEnum):
    """By the time of creation, by name (upper and lower case are one), or by profile."""

    NEWEST = "NEWEST"
    OLDEST = "OLDEST"
    NAME = "NAME"
    NAME_DOWN = "NAME_DOWN"
    PROFILE = "PROFILE"
    PROFILE_DOWN = "PROFILE_DOWN"


class EntityStore(Protocol):
    """Entities, their credentials and their edges. One process changes an entity at a time.
    All raise StoreUnavailable (Later); what saves raises Unstorable, too."""

    async def entities(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Entity]:
        """Those that are known, deleted ones among them."""
        ...

    async def save_entities(self, entities: Sequence[Entity]) -> None:
        """Keep each unless a greater (version, origin) stands; return when durable."""
        ...

    async def named(self, tenant_id: str, entity_type: str, name: str) -> Entity | None:
        """The one of this very name, not deleted; of several the one that was made first."""
        ...

    async def page(
        self,
        tenant_id: str,
        entity_type: str,
        limit: int,
        skip: int,
        *,
        profile: str = "",
        text: str = "",
        order: EntityOrder = EntityOrder.NEWEST,
    ) -> tuple[Sequence[Entity], int]:
        """Those that are not deleted, and how many there are in all. ``profile``: only of this
        one. ``text``: only with it in their name, in upper or lower case."""
        ...

    async def profiles(self, tenant_id: str, entity_type: str) -> Sequence[str]:
        """Of those that are not deleted, sorted."""
        ...

    async def credentials(self, key: EntityKey) -> Credentials | None: ...

    async def with_token(self, token: str) -> EntityKey | None:
        """Whose credentials have this ``credentialsId``; of several those of the least version,
        so that nobody takes over what is another's. A deleted entity has none. The id alone may
        be no secret: whom to let in is for ``core.credentials`` to say, by type."""
        ...

    async def save_credentials(self, credentials: Credentials) -> None:
        """Keep them unless a greater (version, origin) stands; return when durable."""
        ...

    async def edges_of(self, keys: Sequence[EntityKey]) -> Mapping[EntityKey, Sequence[str]]:
        """The ids of the edges that each is assigned to, sorted; none: left out. Those of a
        deleted entity stay, until they are taken away."""
        ...

    async def assigned(
        self,
        edge_id: str,
        entity_type: str,
        limit: int,
        skip: int,
        *,
        text: str = "",
        order: EntityOrder = EntityOrder.NEWEST,
    ) -> tuple[Sequence[Entity], int]:
        """The known entities of an edge, like ``page``."""
        ...

    async def assign(self, key: EntityKey, edge_id: str) -> None:
        """Return when durable. Repeating it changes nothing."""
        ...

    async def unassign(self, key: EntityKey, edge_id: str) -> None:
        """Return when durable. Repeating it changes nothing."""
        ...


class Rpc(NamedTuple):
    """A command. ``request``: its JSON text; ``answer``: that of the response or error."""

    rpc_id: str
    tenant_id: str
    device_id: str
    status: RpcStatus
    request: str
    answer: str
    created_time: int
    updated_ms: int
    event_id: str = ""


class RpcNews(NamedTuple):
    """What is told of a device's command. ``event_id``: of who tells."""

    rpc_id: str
    device_id: str
    status: RpcStatus
    answer: str
    now_ms: int
    event_id: str


class Told(NamedTuple):
    """A command before news of it, and as it stands now."""

    before: Rpc
    now: Rpc


class RpcStore(Protocol):
    """All raise StoreUnavailable (Later)."""

    async def create(self, rpc: Rpc) -> bool:
        """Keep a command; False when it is known already. Return when durable."""
        ...

    async def advance(self, news: RpcNews) -> Told | None:
        """Raise the state where it ``core.changes.rises`` and the command is that device's;
        None when it is unknown. Return when durable. One process tells of a command at a
        time."""
        ...

    async def get(self, rpc_id: str) -> Rpc | None: ...

    async def pending(self, device_id: str) -> Sequence[Rpc]:
        """Those QUEUED for a device, the oldest first."""
        ...

    async def page(
        self, device_id: str, status: RpcStatus | None, limit: int, skip: int
    ) -> tuple[Sequence[Rpc], int]:
        """The newest first, and how many there are in all. ``status`` None: of any but
        DELETED."""
        ...

    async def due(self, now_ms: int, limit: int) -> Sequence[Rpc]:
        """Of the commands that are open (``core.changes.RPC_OPEN``) though their time is over,
        those for which it has been so the longest. Where several processes make commands, each
        finds at least its own."""
        ...

    async def expire(self, before_ms: int, limit: int) -> int:
        """Forget what was made before, at most so many at once; how many went."""
        ...
