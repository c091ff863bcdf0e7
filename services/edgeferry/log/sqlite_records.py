"""How records stand in the SQLite log: headers as bytes, statements of a partition's table."""

from collections.abc import Sequence
from functools import cache

from edgeferry.core.record import Headers

ROWS_PER_STATEMENT = 256
"""Python gives up the GIL at each statement and may wait milliseconds to get it back; but a
prepared statement takes 0.6 KB per row of it, for each partition."""

COLUMNS = 6
_KNOWN = 1_000
_LONG = 255
_REMEMBERED_BYTES = 256
"""Of headers; longer ones hardly come again."""

RecordsTable = str


def records_table(topic_id: int, partition: int) -> RecordsTable:
    return f"records_{topic_id}_{partition}"


def create_records(table: RecordsTable) -> str:
    """``total``: bytes of keys, values and headers up to and with this record, since the
    topic was made. It stands before the value, which may lie on other pages."""
    return (
        f"CREATE TABLE {table} (offset INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, "
        "total INTEGER NOT NULL, key BLOB, headers BLOB NOT NULL, value BLOB) STRICT"
    )


@cache
def insert_records(table: RecordsTable, rows: int) -> str:
    """Rows without an offset are left out: they fill the statement up, so that few different
    ones exist."""
    row = "(?,?,?,?,?,?)"
    if rows == 1:
        return f"INSERT INTO {table} VALUES {row}"
    return (
        f"INSERT INTO {table} SELECT * FROM (VALUES {','.join([row] * rows)}) "
        "WHERE column1 IS NOT NULL"
    )


def insert_chunks(table: RecordsTable, cells: list[object]) -> list[tuple[str, list[object]]]:
    """Full statements, then one of the next power of two. cells: flat, COLUMNS a row."""
    full = ROWS_PER_STATEMENT * COLUMNS
    chunks: list[tuple[str, list[object]]] = []
    at = 0
    while len(cells) - at >= full:
        chunks.append((insert_records(table, ROWS_PER_STATEMENT), cells[at : at + full]))
        at += full
    rest = cells[at:] if at else cells
    if rest:
        rows = len(rest) // COLUMNS
        size = 1 << (rows - 1).bit_length()
        chunks.append((insert_records(table, size), rest + [None] * ((size - rows) * COLUMNS)))
    return chunks


def select_records(table: RecordsTable) -> str:
    """?1: first offset, ?2: offset to stop before, ?3: bytes; the first record comes always.

    The range of offsets ends the look: without it a short answer would read the whole table."""
    return (
        f"SELECT offset, timestamp, key, headers, value FROM {table} "
        "WHERE offset >= ?1 AND offset < ?2 AND (offset = ?1 OR total <= ?3 + "
        f"(SELECT total - ifnull(length(key), 0) - length(headers) - ifnull(length(value), 0) "
        f"FROM {table} WHERE offset = ?1)) ORDER BY offset"
    )


class HeadersCodec:
    """Headers as bytes: per header the name (UTF-8) and the value, each behind its length: one
    byte, or 255 and four bytes. The usual few are remembered; no header is no byte."""

    def __init__(self) -> None:
        self._names: dict[str, bytes] = {}
        self._decoded: dict[bytes, Headers] = {b"": ()}

    def encode(self, headers: Headers) -> bytes:
        if not headers:
            return b""
        names = self._names
        parts: list[bytes] = []
        for name, value in headers:
            known = names.get(name)
            if known is None:
                text = name.encode()
                known = _length(text) + text
                if len(known) <= _REMEMBERED_BYTES:
                    if len(names) >= _KNOWN:
                        names.clear()
                    names[name] = known
            size = len(value)
            parts += (known, _LENGTHS[size] if size < _LONG else _length(value), value)
        return b"".join(parts)

    def decode(self, encoded: bytes) -> Headers:
        found = self._decoded.get(encoded)
        if found is None:
            found = tuple(_decode(encoded))
            if len(encoded) <= _REMEMBERED_BYTES:
                if len(self._decoded) >= _KNOWN:
                    self._decoded.clear()
                self._decoded[encoded] = found
        return found


def _decode(encoded: bytes) -> Sequence[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    at, end = 0, len(encoded)
    while at < end:
        size = encoded[at]
        at += 1
        if size == _LONG:
            size, at = int.from_bytes(encoded[at : at + 4], "big"), at + 4
        name = encoded[at : at + size].decode()
        at += size
        size = encoded[at]
        at += 1
        if size == _LONG:
            size, at = int.from_bytes(encoded[at : at + 4], "big"), at + 4
        found.append((name, encoded[at : at + size]))
        at += size
    return found


_LENGTHS = [bytes([size]) for size in range(_LONG)]


def _length(text: bytes) -> bytes:
    size = len(text)
    return _LENGTHS[size] if size < _LONG else b"\xff" + size.to_bytes(4, "big")
