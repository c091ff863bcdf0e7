"""Cloud Events (up) and Edge Events (down): what the sync carries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeferry.core.kv import Scope, TsPoint, Value


@dataclass(frozen=True, slots=True)
class AttributesBody:
    """``versions`` runs beside ``values``; 0 where the service has given none yet."""

    scope: Scope
    ts: int
    values: Mapping[str, Value]
    versions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AttributeKeysBody:
    """Deleted attribute keys with the versions of their deletes."""

    scope: Scope
    keys: Sequence[str]
    versions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event towards the Cloud. Exactly one of the bodies is set, or none (alarm acks).

    created_time in ms; rpc, alarm and entity are JSON texts. seq_id is not here: it is
    the event's position in the log.
    """

    id: str
    created_time: int
    stamp: int
    tenant_id: str
    action: str
    type: str
    entity_type: str
    entity_id: str
    entity_name: str
    entity_profile: str
    timeseries: Sequence[TsPoint] | None = None
    attributes: AttributesBody | None = None
    attribute_keys: AttributeKeysBody | None = None
    rpc: str | None = None
    alarm: str | None = None
    entity: str | None = None


@dataclass(frozen=True, slots=True)
class EdgeEvent:
    """One event towards an Edge: as a CloudEvent, with the edge and a uid for merging."""

    edge_id: str
    uid: str
    event: CloudEvent
