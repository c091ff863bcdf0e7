"""What a caller's records become before the SQLite log's writer takes them."""

import itertools
from collections.abc import Mapping, Sequence

from edgeferry.core.errors import LogUnavailable
from edgeferry.core.record import Outgoing
from edgeferry.log.keys import KeyHashes
from edgeferry.log.limits import (
    MAX_DEAD_LETTER_BYTES,
    MAX_WHOLE_BYTES,
    is_dead_letters,
    too_large,
)
from edgeferry.log.sqlite_records import HeadersCodec
from edgeferry.log.sqlite_state import At, Topic
from edgeferry.log.sqlite_transaction import Row


class Preparation:
    """Done in the event loop, so that the writer's thread has little left that needs the GIL."""

    def __init__(self, codec: HeadersCodec, max_record_bytes: int) -> None:
        self.max_record_bytes = max_record_bytes
        self._encode = codec.encode
        self._hash = KeyHashes()
        self._turns = itertools.count()

    def rows(
        self, records: Sequence[Outgoing], topics: Mapping[str, Topic]
    ) -> tuple[dict[At, list[Row]], int]:
        """By partition in the given order, and the bytes of all.

        Raises RecordTooLarge, LogUnavailable."""
        encode, limit = self._encode, self.max_record_bytes
        rows: dict[At, list[Row]] = {}
        total = 0
        for record in records:
            topic, key, value, headers = record
            encoded = encode(headers)
            size = len(value)
            whole = size + len(encoded) + (0 if key is None else len(key))
            if size > limit or whole > MAX_WHOLE_BYTES:
                _check_size(record, whole, limit)
            at = (topic, self._partition(topic, key, topics))
            of_partition = rows.get(at)
            if of_partition is None:
                of_partition = rows[at] = []
            of_partition.append((key, encoded, value, tuple(headers), whole))
            total += whole
        return rows, total

    def _partition(self, topic: str, key: bytes | None, topics: Mapping[str, Topic]) -> int:
        found = topics.get(topic)
        if found is None:
            raise LogUnavailable(f"topic {topic} does not exist: run `edgeferry topics apply`")
        count = found.partitions
        if count == 1:
            return 0
        return (next(self._turns) if key is None else self._hash(key)) % count


def _check_size(record: Outgoing, whole: int, limit: int) -> None:
    """Raises RecordTooLarge."""
    letters = is_dead_letters(record.topic)
    if len(record.value) > limit and not letters:
        raise too_large(record, len(record.value), limit)
    most = MAX_DEAD_LETTER_BYTES if letters else MAX_WHOLE_BYTES
    if whole > most:
        raise too_large(record, whole, most)
