"""Choosing the store by settings."""

from pathlib import Path

from edgeferry.core.clock import Clock
from edgeferry.core.store import Store
from edgeferry.store.metrics import NoMetrics, StoreMetrics
from edgeferry.store.options import StoreOptions
from edgeferry.store.seal import KEY_FILE, Seal


def open_store(
    *,
    settings: StoreOptions,
    data: Path,
    clock: Clock,
    metrics: StoreMetrics | None = None,
    read_only: bool = False,
) -> Store:
    """A store that is not started yet. ``data``: the folder of all local state.

    ``read_only``: for tools beside the running site. Local files have one owner, which alone
    writes; Cassandra is shared anyway.

    All processes of a site need the same key of the credentials: see ``store.seal``.

    The driver of the other kind is not even imported: an embedded Edge stays small."""
    chosen = metrics or NoMetrics()
    seal = Seal(settings.credentials_key_file or data / KEY_FILE)
    if settings.kind == "cassandra":
        from edgeferry.store.cassandra import CassandraStore

        return CassandraStore(settings=settings.cassandra, seal=seal, clock=clock, metrics=chosen)
    from edgeferry.store.sqlite import SqliteStore

    return SqliteStore(folder=data, seal=seal, clock=clock, metrics=chosen, read_only=read_only)
