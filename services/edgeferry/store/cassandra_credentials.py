"""Credentials in Cassandra: sealed, and found by a keyed hash of their token."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from edgeferry.core.clock import MICROS_PER_MS, Clock
from edgeferry.core.store import Credentials, EntityKey
from edgeferry.store.cassandra_session import CassandraSession
from edgeferry.store.cassandra_statements import insert_cql
from edgeferry.store.seal import Seal
from edgeferry.store.values import check_row, token_of

_ENTITY = "entity_type = ? AND entity_id = ?"
_TIMED = "USING TIMESTAMP ?"


class _Stored(NamedTuple):
    sealed: bytes
    version: int
    origin: str
    event_id: str
    token_hash: str | None
    written: int


class CassandraCredentials:
    """What core.store.EntityStore says of them. The row that decides is written last."""

    def __init__(self, *, session: CassandraSession, clock: Clock, seal: Seal) -> None:
        self._session = session
        self._clock = clock
        self._seal = seal
        cells = _Stored._fields[:-1]
        self._find = session.query(
            f"SELECT {', '.join(cells)}, writetime(version) FROM credentials_cf WHERE {_ENTITY}"
        )
        self._save = session.query(
            insert_cql("credentials_cf", ("entity_type", "entity_id", *cells), _TIMED)
        )
        token = ("token_hash", "entity_type", "entity_id")
        self._owners = session.query(
            "SELECT entity_type, entity_id FROM credentials_token_cf WHERE token_hash = ?"
        )
        self._put_token = session.query(insert_cql("credentials_token_cf", token, _TIMED))
        self._drop_token = session.query(
            f"DELETE FROM credentials_token_cf {_TIMED} WHERE token_hash = ? AND {_ENTITY}"
        )
        self._any = session.query(
            "SELECT entity_type, entity_id, sealed FROM credentials_cf LIMIT 1"
        )
        self._changing = asyncio.Lock()

    async def check_key(self) -> None:
        """Raises StoreUnusable when what stands was sealed with another key."""
        for entity_type, entity_id, sealed in await self._session.rows(self._any, ()):
            self._seal.reveal((entity_type, entity_id), sealed)

    async def _stored(self, key: EntityKey) -> _Stored | None:
        rows = [_Stored(*row) for row in await self._session.rows(self._find, key)]
        return rows[0] if rows and rows[0].written is not None else None

    async def get(self, key: EntityKey) -> Credentials | None:
        """Raises StoreUnavailable, StoreUnusable."""
        stored = await self._stored(key)
        if stored is None:
            return None
        body = self._seal.reveal(key, stored.sealed)
        return Credentials(*key, body, stored.version, stored.origin, stored.event_id)

    async def save(self, credentials: Credentials) -> None:
        """Raises StoreUnavailable, Unstorable."""
        check_row(credentials)
        key = (credentials.entity_type, credentials.entity_id)
        sealed = self._seal.close(key, credentials.body)
        token = token_of(credentials)
        token_hash = self._seal.hash(token) if token else None
        async with self._changing:
            stored = await self._stored(key)
            now = self._clock.now_ms() * MICROS_PER_MS
            if stored is not None:
                if (credentials.version, credentials.origin) < (stored.version, stored.origin):
                    return
                now = max(now, stored.written + 1)
                if stored.token_hash not in (None, token_hash):
                    await self._session.rows(self._drop_token, (now, stored.token_hash, *key))
            if token_hash is not None:
                await self._session.rows(self._put_token, (token_hash, *key, now))
            await self._session.rows(self._save, (*key, sealed, *credentials[3:], token_hash, now))

    async def with_token(self, token: str) -> Sequence[EntityKey]:
        """Whose credentials have it, those of the least version first."""
        token_hash = self._seal.hash(token)
        found: list[tuple[int, EntityKey]] = []
        for entity_type, entity_id in await self._session.rows(self._owners, (token_hash,)):
            stored = await self._stored((entity_type, entity_id))
            if stored is not None and stored.token_hash == token_hash:
                found.append((stored.version, (entity_type, entity_id)))
        return [key for _, key in sorted(found, key=lambda one: (one[0], one[1][1]))]
