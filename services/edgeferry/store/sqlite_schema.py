"""The tables of the SQLite store, format by format."""

FORMAT = 6
"""Raise it with every change of the tables, and add the way there to ``MIGRATIONS``."""

_TELEMETRY = """
CREATE TABLE entities (
    id INTEGER PRIMARY KEY, entity_type TEXT NOT NULL, entity_id TEXT NOT NULL,
    UNIQUE (entity_type, entity_id)
) STRICT;
CREATE TABLE keys (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE history (
    entity INTEGER NOT NULL, key INTEGER NOT NULL, ts INTEGER NOT NULL,
    stamp INTEGER NOT NULL, kind INTEGER NOT NULL, value ANY NOT NULL, expires INTEGER,
    PRIMARY KEY (entity, key, ts)
) STRICT, WITHOUT ROWID;
CREATE INDEX history_expires ON history (expires) WHERE expires IS NOT NULL;
CREATE TABLE latest (
    entity INTEGER NOT NULL, key INTEGER NOT NULL, ts INTEGER NOT NULL,
    stamp INTEGER NOT NULL, kind INTEGER NOT NULL, value ANY NOT NULL,
    PRIMARY KEY (entity, key)
) STRICT, WITHOUT ROWID;
"""

# Ranges deleted lately; key 0 stands for every key of the entity.
_DELETES = """
CREATE TABLE deletes (
    entity INTEGER NOT NULL, key INTEGER NOT NULL, start_ts INTEGER NOT NULL,
    end_ts INTEGER NOT NULL, stamp INTEGER NOT NULL, latest INTEGER NOT NULL,
    PRIMARY KEY (entity, key, stamp, start_ts, end_ts, latest)
) STRICT, WITHOUT ROWID;
"""

# A deleted attribute is a row without a value; decisions: the last ones, as JSON.
_ATTRIBUTES = """
CREATE TABLE attributes (
    entity INTEGER NOT NULL, scope TEXT NOT NULL, key INTEGER NOT NULL,
    kind INTEGER, value ANY, last_update_ts INTEGER NOT NULL,
    version INTEGER NOT NULL, origin TEXT NOT NULL, deleted INTEGER NOT NULL DEFAULT 0,
    decisions TEXT,
    PRIMARY KEY (entity, scope, key)
) STRICT, WITHOUT ROWID;
"""

_POSITIONS = """
CREATE TABLE positions (
    stream TEXT PRIMARY KEY, epoch INTEGER NOT NULL, offset INTEGER NOT NULL,
    incarnation TEXT NOT NULL, detail TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

# sources: the next offset of each source, as JSON.
_EDGE_EVENTS = """
CREATE TABLE edge_events (
    edge TEXT NOT NULL, lane TEXT NOT NULL, seq INTEGER NOT NULL, queued_ms INTEGER NOT NULL,
    created_time INTEGER NOT NULL, action TEXT NOT NULL, type TEXT NOT NULL,
    entity_type TEXT NOT NULL, entity_id TEXT NOT NULL, uid TEXT NOT NULL,
    traceparent TEXT NOT NULL, origin TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (edge, lane, seq)
) STRICT;
CREATE INDEX edge_events_by_time ON edge_events (edge, queued_ms);
CREATE TABLE edge_event_heads (
    edge TEXT NOT NULL, lane TEXT NOT NULL, first INTEGER NOT NULL, next INTEGER NOT NULL,
    sources TEXT NOT NULL,
    PRIMARY KEY (edge, lane)
) STRICT, WITHOUT ROWID;
"""

# ``entities`` above only gives numbers. folded: the name in lower case. An assignment of a
# deleted entity stays.
_KNOWN_ENTITIES = """
CREATE TABLE known_entities (
    entity_type TEXT NOT NULL, entity_id TEXT NOT NULL, tenant_id TEXT NOT NULL,
    name TEXT NOT NULL, profile TEXT NOT NULL, created_time INTEGER NOT NULL,
    version INTEGER NOT NULL, origin TEXT NOT NULL, label TEXT NOT NULL,
    additional_info TEXT NOT NULL, event_id TEXT NOT NULL, deleted INTEGER NOT NULL,
    folded TEXT NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
) STRICT;
CREATE INDEX known_entities_by_time ON known_entities
    (tenant_id, entity_type, created_time, entity_id) WHERE deleted = 0;
CREATE INDEX known_entities_by_name ON known_entities
    (tenant_id, entity_type, folded, entity_id) WHERE deleted = 0;
CREATE TABLE credentials (
    entity_type TEXT NOT NULL, entity_id TEXT NOT NULL, sealed BLOB NOT NULL,
    version INTEGER NOT NULL, origin TEXT NOT NULL, event_id TEXT NOT NULL,
    token_hash TEXT NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
) STRICT;
CREATE INDEX credentials_by_token ON credentials (token_hash);
CREATE TABLE assignments (
    entity_type TEXT NOT NULL, entity_id TEXT NOT NULL, edge_id TEXT NOT NULL,
    PRIMARY KEY (entity_type, entity_id, edge_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX assignments_by_edge ON assignments (edge_id, entity_type);
"""

# What the owner of changes decided lately.
_ENTITY_DECISIONS = """
ALTER TABLE known_entities ADD COLUMN decisions TEXT NOT NULL DEFAULT '';
"""

# Commands for devices.
_RPCS = """
CREATE TABLE rpcs (
    rpc_id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, device_id TEXT NOT NULL,
    status TEXT NOT NULL, request TEXT NOT NULL, answer TEXT NOT NULL,
    created_time INTEGER NOT NULL, updated_ms INTEGER NOT NULL, event_id TEXT NOT NULL
) STRICT;
CREATE INDEX rpcs_by_device ON rpcs (device_id, created_time, rpc_id);
CREATE INDEX rpcs_by_time ON rpcs (created_time);
"""

# When the time of an open command is over.
_RPC_ENDS = """
CREATE TABLE rpc_ends (
    ends_ms INTEGER NOT NULL, rpc_id TEXT NOT NULL,
    PRIMARY KEY (ends_ms, rpc_id)
) STRICT, WITHOUT ROWID;
"""

_OPEN_RPCS = """
INSERT INTO rpc_ends SELECT json_extract(request, '$.expirationTime'), rpc_id FROM rpcs
WHERE status IN ('QUEUED', 'SENT', 'DELIVERED') AND json_valid(request)
    AND json_type(request, '$.expirationTime') = 'integer'
    AND json_extract(request, '$.expirationTime') > 0;
"""

SCHEMA = "".join(
    (
        *(_TELEMETRY, _DELETES, _ATTRIBUTES, _POSITIONS, _EDGE_EVENTS, _KNOWN_ENTITIES),
        *(_ENTITY_DECISIONS, _RPCS, _RPC_ENDS),
    )
)

MIGRATIONS = {
    1: _DELETES + "ALTER TABLE attributes ADD COLUMN decisions TEXT;",
    2: _EDGE_EVENTS,
    3: _KNOWN_ENTITIES + _RPCS,
    4: _RPC_ENDS + _OPEN_RPCS,
    5: _ENTITY_DECISIONS,
}
"""Format -> what makes the next one of it."""
