"""Copies entities, commands and the Edge queue of a SQLite store into another one; and
compares the two."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from edgeferry.core.store import Credentials, EdgeEventStore, Entity, QueuedEvent, Rpc, Store
from edgeferry.store.sqlite_kept_rows import Assignment, EdgesEvent, Kept, SqliteKeptRows
from edgeferry.store.sqlite_pages import After
from edgeferry.tools.move_compare import compare_side_by_side, must_equal
from edgeferry.tools.move_progress import Progress

_READ_BYTES = 1024 * 1024


async def copy_kept(
    *, rows: SqliteKeptRows, target: Store, progress: Progress, say: Callable[[str, int], None]
) -> None:
    """Raises StoreUnavailable (call again), StoreUnusable, Unstorable."""

    def reached(table: str, page: Sequence[Kept[Any]]) -> None:
        say(table, progress.reached(table, page))

    entities = target.entities
    async for known in rows.entities(progress.after("entities")):
        await entities.save_entities([one.row for one in known])
        reached("entities", known)
    async for secrets in rows.credentials(progress.after("credentials")):
        for secret in secrets:
            await entities.save_credentials(secret.row)
        reached("credentials", secrets)
    async for assignments in rows.assignments(progress.after("assignments")):
        for entity_type, entity_id, edge_id in (one.row for one in assignments):
            await entities.assign((entity_type, entity_id), edge_id)
        reached("assignments", assignments)
    async for rpcs in rows.rpcs(progress.after("commands")):
        for rpc in rpcs:
            await target.rpcs.create(rpc.row)
        reached("commands", rpcs)
    async for events in rows.edge_events(progress.after("edge events")):
        for edge_id, of_edge in groupby((one.row for one in events), key=lambda row: row.edge_id):
            await target.edge_events.restore(edge_id, [one.event for one in of_edge])
        reached("edge events", events)
    await target.edge_events.restore_heads(await rows.heads())


async def compare_kept(*, rows: SqliteKeptRows, target: Store) -> Mapping[str, int]:
    """Rows of each table. Raises StoreUnavailable, Stop naming the first that differs."""
    counts = dict.fromkeys(_TABLES, 0)
    async for known in rows.entities(()):
        await _check_entities([one.row for one in known], target)
        counts["entities"] += len(known)
    async for secrets in rows.credentials(()):
        await compare_side_by_side(_check_credentials(one.row, target) for one in secrets)
        counts["credentials"] += len(secrets)
    async for assignments in rows.assignments(()):
        await _check_assignments([one.row for one in assignments], target)
        counts["assignments"] += len(assignments)
    async for rpcs in rows.rpcs(()):
        await compare_side_by_side(_check_rpc(one.row, target) for one in rpcs)
        counts["commands"] += len(rpcs)
    async for events in rows.edge_events(()):
        await _check_events([one.row for one in events], target.edge_events)
        counts["edge events"] += len(events)
    must_equal("edge events", "the head of the queues", list(await rows.heads()),
               list(await target.edge_events.heads()))  # fmt: skip
    return counts


async def count_kept(rows: SqliteKeptRows) -> Mapping[str, int]:
    """What there is to copy. Raises StoreUnavailable."""
    return {table: await _count(read(rows)) for table, read in _TABLES.items()}


_START: After = ()
_TABLES: Mapping[str, Callable[[SqliteKeptRows], AsyncIterator[Sequence[Any]]]] = {
    "entities": lambda rows: rows.entities(_START),
    "credentials": lambda rows: rows.credentials(_START),
    "assignments": lambda rows: rows.assignments(_START),
    "commands": lambda rows: rows.rpcs(_START),
    "edge events": lambda rows: rows.edge_events(_START),
}


async def _count(pages: AsyncIterator[Sequence[Any]]) -> int:
    return sum([len(page) async for page in pages])


async def _check_entities(entities: Sequence[Entity], target: Store) -> None:
    wanted = {(one.entity_type, one.entity_id): one for one in entities}
    found = await target.entities.entities(list(wanted))
    for key, entity in wanted.items():
        must_equal("entities", " ".join(key), entity, found.get(key))


async def _check_credentials(credentials: Credentials, target: Store) -> None:
    """The difference itself is not told."""
    key = (credentials.entity_type, credentials.entity_id)
    same = await target.entities.credentials(key) == credentials
    must_equal("credentials", " ".join(key), "the same", "the same" if same else "another one")


async def _check_assignments(assignments: Sequence[Assignment], target: Store) -> None:
    keys = list({(one.entity_type, one.entity_id): None for one in assignments})
    found = await target.entities.edges_of(keys)
    for entity_type, entity_id, edge_id in assignments:
        there = edge_id in found.get((entity_type, entity_id), ())
        must_equal("assignments", f"{entity_type} {entity_id} to {edge_id}", True, there)


async def _check_rpc(rpc: Rpc, target: Store) -> None:
    must_equal("commands", rpc.rpc_id, rpc, await target.rpcs.get(rpc.rpc_id))


async def _check_events(rows: Sequence[EdgesEvent], target: EdgeEventStore) -> None:
    for (edge_id, lane), group in groupby(rows, key=lambda row: (row.edge_id, row.event.lane)):
        wanted = [row.event for row in group]
        found: dict[int, QueuedEvent] = {}
        seq = wanted[0].seq
        while seq <= wanted[-1].seq:
            some = await target.read(edge_id, lane, seq, _READ_BYTES)
            if not some:
                break
            found |= {event.seq: event for event in some}
            seq = some[-1].seq + 1
        for event in wanted:
            what = f"{event.seq} of {lane} of the edge {edge_id}"
            must_equal("edge events", what, event, found.get(event.seq))
