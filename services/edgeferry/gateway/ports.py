"""What the gateway asks of the rest of a site, so that each can be built and tried alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from edgeferry.core.kv import AttributeEntry, Scope
from edgeferry.gateway.device_state import StoredState
from edgeferry.gateway.devices import Device
from edgeferry.gateway.login import Login
from edgeferry.gateway.provisioning import Provisioner


class DeviceDirectory(Protocol):
    """Devices by what their clients show; ``find`` at memory's speed, for each HTTP request."""

    problem: str
    """Why what is known may be old; empty when all is well."""

    def find(self, login: Login) -> Device | None:
        """What is known of it in memory."""
        ...

    async def look(self, login: Login, address: str) -> Device | None:
        """The same, asked for where it is not known. address: of the client. Raises Later."""
        ...

    def forget(self, device_id: str) -> None:
        """Something about the device has changed."""
        ...

    def forget_all(self) -> None: ...

    async def refresh(self) -> bool:
        """True when devices or tokens changed: sessions are checked again."""
        ...


class AttributesReader(Protocol):
    """Of ``core.store.AttributesStore`` what a device may ask."""

    async def attributes(
        self,
        entity_type: str,
        entity_id: str,
        scope: Scope,
        keys: Sequence[str] | None = None,
    ) -> Sequence[AttributeEntry]:
        """Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Command:
    """A command to a device. params: JSON text. expires_ms: 0 for never. A one-way command
    is done when it was delivered. attempts: how often it was sent without being confirmed;
    retries: how often it may be sent again."""

    rpc_id: str
    method: str
    params: str
    expires_ms: int = 0
    oneway: bool = False
    retries: int = 0
    attempts: int = 0


class Commands(Protocol):
    """Commands that are kept for devices."""

    async def pending(self, device_id: str) -> Sequence[Command]:
        """Those that no device has confirmed (QUEUED, SENT) and that have not expired, the
        oldest first. Raises StoreUnavailable."""
        ...

    async def unanswered(self, device_id: str) -> Sequence[Command]:
        """Those that were sent and have not ended (SENT, DELIVERED). Raises StoreUnavailable."""
        ...

    async def claim(self, device_id: str, command: Command) -> bool:
        """Whether the caller, and nobody else, may now send it: it is durably SENT, once more.
        Raises Later."""
        ...


class NestedDevices(Protocol):
    """Devices behind a device that is a gateway."""

    async def nested(self, gateway: Device, name: str, profile: str) -> Device:
        """The device of this name, made if there is none. Raises InvalidPayload (the name
        belongs to somebody else, or cannot be one), Later."""
        ...


class DeviceStates(Protocol):
    """Which devices were there, as it is kept."""

    async def load(self, device_ids: Sequence[str]) -> Mapping[str, StoredState]:
        """Those that are no device any more are left out. Raises StoreUnavailable."""
        ...

    async def left_active(self, most: int) -> Sequence[tuple[Device, StoredState]]:
        """Devices of this site that are kept as active. Raises StoreUnavailable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePorts:
    """None: this process has no such thing, and says so to devices that ask."""

    attributes: AttributesReader | None = None
    commands: Commands | None = None
    nested: NestedDevices | None = None
    states: DeviceStates | None = None
    provisioner: Provisioner | None = None


class Handed(Enum):
    """What became of a command that a link was given. Of one that was SENT the link reports
    to ``CommandDesk.delivered`` when the device has it, as far as that can be known, or to
    ``CommandDesk.unsure`` when it never will be."""

    REFUSED = "refused"
    SENT = "sent"


class DeviceLink(Protocol):
    """One way to a device: a connection with its subscriptions, or a long poll."""

    @property
    def owner(self) -> object:
        """What keeps the commands that are under way: the session, over its connections."""
        ...

    def wants_attributes(self) -> bool: ...

    def wants_commands(self) -> bool: ...

    def attributes(self, updates: Mapping[str, object], deletes: Sequence[str]) -> None:
        """Shared attributes that changed."""
        ...

    def command(self, request_id: int, command: Command) -> Handed: ...

    def answer(self, call_id: int, data: str) -> None:
        """The answer (JSON text) to a call that came over this link."""
        ...
