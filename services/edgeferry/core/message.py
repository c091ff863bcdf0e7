"""The message that travels through rule chains."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class EntityType(StrEnum):
    """Originator types; the names are an interface (semantics of the field, section 1.2)."""

    DEVICE = "DEVICE"
    ASSET = "ASSET"
    ENTITY_VIEW = "ENTITY_VIEW"
    DASHBOARD = "DASHBOARD"
    TENANT = "TENANT"
    CUSTOMER = "CUSTOMER"
    USER = "USER"
    EDGE = "EDGE"
    DEVICE_PROFILE = "DEVICE_PROFILE"
    ASSET_PROFILE = "ASSET_PROFILE"
    ALARM = "ALARM"
    RULE_CHAIN = "RULE_CHAIN"
    RULE_NODE = "RULE_NODE"


class DataType(StrEnum):
    JSON = "JSON"
    TEXT = "TEXT"
    BINARY = "BINARY"


_UNPARSED: Final = object()


@dataclass(slots=True)
class RuleMessage:
    """One message of a rule chain. Never change one in place; ``with_`` makes a changed copy.

    (Not frozen for speed alone: a frozen dataclass takes seven times as long to make, and
    one is made for each message and hop. The contract test of nodes sees to the rest.)

    ts: milliseconds, when it entered the site. stamp: see ``clock.Stamps``.
    stack: the callers of nested chains, the innermost last. data: the body as text, parsed by
    ``json`` only.
    """

    id: str
    tenant_id: str
    ts: int
    stamp: int
    stack: list[str]
    type: str
    entity_type: str
    entity_id: str
    metadata: Mapping[str, str]
    data_type: str
    data: str
    _json: Any = field(default=_UNPARSED, compare=False, repr=False)

    @property
    def json(self) -> Any:
        """The parsed body. Raises ValueError when it is not JSON."""
        if self._json is _UNPARSED:
            self._json = json.loads(self.data)
        return self._json

    @property
    def data_ts(self) -> int:
        """Metadata ``ts`` if it is there, else the message's own (ms)."""
        text = self.metadata.get("ts")
        return int(text) if text else self.ts

    def with_(
        self,
        *,
        type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        data: str | None = None,
        stack: list[str] | None = None,
    ) -> "RuleMessage":
        return RuleMessage(
            self.id,
            self.tenant_id,
            self.ts,
            self.stamp,
            self.stack if stack is None else stack,
            self.type if type is None else type,
            self.entity_type,
            self.entity_id,
            self.metadata if metadata is None else metadata,
            self.data_type,
            self.data if data is None else data,
            self._json if data is None else _UNPARSED,
        )

    def with_metadata(self, **added: str) -> "RuleMessage":
        return self.with_(metadata={**self.metadata, **added})
