"""What follows from a decided change of attributes: events to the other sites, the message
into the root chain, the news for the device's session.

Never back to the origin; CLIENT never down. Ids are derived from the change's, so that a
repeat makes the same.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from edgeferry.attributes.facts import Consequences, Facts, Here
from edgeferry.core.changes import AttributeChange, edge_origin
from edgeferry.core.clock import MICROS_PER_MS
from edgeferry.core.events import AttributeKeysBody, AttributesBody, CloudEvent, EdgeEvent
from edgeferry.core.ids import derived_id
from edgeferry.core.kv import Scope
from edgeferry.core.message import DataType, EntityType, RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.store import VersionedAttribute

MAKER: Final = "attributes"
_CREDENTIALS: Final = ("credentials", "credentialsVersion")
"""Of an entity that comes with them."""


class _Part(NamedTuple):
    """The accepted keys of a change that were saved, or those that were deleted."""

    type: MessageType
    number: int
    rows: Sequence[VersionedAttribute]


def fan_out(
    change: AttributeChange,
    accepted: Sequence[VersionedAttribute],
    facts: Facts,
    here: Here,
    out: Consequences,
) -> None:
    """Add what follows from the keys of a change that won."""
    saved = [row for row in accepted if row.value is not None]
    deleted = [row for row in accepted if row.value is None]
    for part in (
        _Part(MessageType.ATTRIBUTES_UPDATED, 0, saved),
        _Part(MessageType.ATTRIBUTES_DELETED, 1, deleted),
    ):
        if part.rows:
            _announce(change, part, facts, here, out)
            _to_sites(change, part, facts, here, out)


def _announce(
    change: AttributeChange, part: _Part, facts: Facts, here: Here, out: Consequences
) -> None:
    message = RuleMessage(
        derived_id(change.id, MAKER, part.number),
        change.tenant_id,
        change.created_time,
        change.created_time * MICROS_PER_MS,
        [],
        part.type,
        change.entity_type,
        change.entity_id,
        _metadata(change, part.rows, facts, here),
        DataType.JSON,
        _data(part),
    )
    out.root.append(message)
    if change.scope is Scope.SHARED and change.entity_type == EntityType.DEVICE:
        out.commands.append(message)


def _data(part: _Part) -> str:
    if part.type is MessageType.ATTRIBUTES_DELETED:
        return json.dumps({"attributes": [row.key for row in part.rows]}, ensure_ascii=False)
    return json.dumps({row.key: row.value for row in part.rows}, ensure_ascii=False)


def _metadata(
    change: AttributeChange, rows: Sequence[VersionedAttribute], facts: Facts, here: Here
) -> dict[str, str]:
    metadata = {"scope": str(change.scope), "ts": str(change.created_time)}
    versions = _versions(rows)
    if len(set(versions.values())) == 1:
        metadata["version"] = str(rows[0].version)
    else:
        metadata["versions"] = json.dumps(versions, ensure_ascii=False)
    if change.origin != here.origin:
        metadata["source"] = "cloud" if here.edge_id else "edge"
    return metadata | names(change.entity_type, facts)


def names(entity_type: str, facts: Facts) -> dict[str, str]:
    """Metadata ``deviceName`` and ``deviceType``."""
    if entity_type != EntityType.DEVICE:
        return {}
    named = {"deviceName": facts.name, "deviceType": facts.profile}
    return {key: value for key, value in named.items() if value}


def _versions(rows: Sequence[VersionedAttribute]) -> dict[str, int]:
    return {row.key: row.version for row in rows}


def _to_sites(
    change: AttributeChange, part: _Part, facts: Facts, here: Here, out: Consequences
) -> None:
    """Origins may differ by key, where only some versions were given anew."""
    if here.edge_id:
        own = [row for row in part.rows if row.origin == here.origin]
        if own:
            out.cloud_events.append(_event(change, part._replace(rows=own), facts, here.edge_id))
        return
    if change.scope is Scope.CLIENT:
        return
    for edge_id in facts.edges:
        if edge_id in facts.switched_off:
            continue
        rows = [row for row in part.rows if row.origin != edge_origin(edge_id)]
        if rows:
            event = _event(change, part._replace(rows=rows), facts, edge_id)
            out.edge_events.append(EdgeEvent(edge_id, event.id, event))


def _event(change: AttributeChange, part: _Part, facts: Facts, edge_id: str) -> CloudEvent:
    return attributes_event(
        derived_id(change.id, f"{MAKER}/{edge_id}", part.number),
        (change.tenant_id, change.entity_type, change.entity_id, change.created_time),
        change.scope,
        part.rows,
        facts,
    )


def attributes_event(
    id_: str,
    about: tuple[str, str, str, int],
    scope: Scope,
    rows: Sequence[VersionedAttribute],
    facts: Facts,
) -> CloudEvent:
    """``about``: tenant, entity type, entity id, created time. ``rows``: all saved or all
    deleted."""
    tenant_id, entity_type, entity_id, created_time = about
    deleted = rows[0].value is None
    versions = _versions(rows)
    return CloudEvent(
        id=id_,
        created_time=created_time,
        stamp=max(versions.values()),
        tenant_id=tenant_id,
        action=MessageType.ATTRIBUTES_DELETED if deleted else MessageType.ATTRIBUTES_UPDATED,
        type=entity_type,
        entity_type=entity_type,
        entity_id=entity_id,
        entity_name=facts.name,
        entity_profile=facts.profile,
        attributes=None
        if deleted
        else AttributesBody(
            scope,
            rows[0].last_update_ts,
            {row.key: row.value for row in rows if row.value is not None},
            versions,
        ),
        attribute_keys=AttributeKeysBody(scope, list(versions), versions) if deleted else None,
    )


def without_credentials(entity: Mapping[str, Any]) -> str:
    """JSON text of an entity for rule chains, whose nodes may log or pass on all that a message
    holds."""
    told = {name: value for name, value in entity.items() if name not in _CREDENTIALS}
    return json.dumps(told, ensure_ascii=False)
