"""How large a record may be, the same on every log."""

from edgeferry.core.errors import RecordTooLarge
from edgeferry.core.record import Outgoing
from edgeferry.log.topics import DEAD_LETTERS

MAX_RECORD_BYTES = 1_000_000
"""A value; well below ``MAX_WHOLE_BYTES``, so key and headers have room beside it."""

MAX_WHOLE_BYTES = 2 * 1024 * 1024
"""Key, value and headers together."""

MAX_DEAD_LETTER_BYTES = 2 * MAX_WHOLE_BYTES
"""A dead letter carries a whole record of another topic."""


def whole_size(record: Outgoing) -> int:
    """Bytes of key, value and headers."""
    headers = sum(len(name.encode()) + len(value) for name, value in record.headers)
    return len(record.key or b"") + len(record.value) + headers


def too_large(record: Outgoing, size: int, limit: int) -> RecordTooLarge:
    return RecordTooLarge(
        f"a record of {size} bytes for {record.topic} is above the limit of {limit} bytes",
        record.topic,
        whole_size(record),
    )


def refused_by_broker(record: Outgoing) -> RecordTooLarge:
    size = whole_size(record)
    return RecordTooLarge(
        f"Kafka refuses a record of {size} bytes for {record.topic}: it is above "
        "max.message.bytes of that topic",
        record.topic,
        size,
    )


def is_dead_letters(topic: str) -> bool:
    return topic.endswith(DEAD_LETTERS)
