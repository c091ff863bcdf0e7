"""How large a record may be, the same on every log."""

from edgeferry.core.errors import RecordTooLarge
from edgeferry.log.topics import DEAD_LETTERS

MAX_RECORD_BYTES = 1_000_000
"""A value; well below ``MAX_WHOLE_BYTES``, so key and headers have room beside it."""

MAX_WHOLE_BYTES = 2 * 1024 * 1024
"""Key, value and headers together."""

MAX_DEAD_LETTER_BYTES = 2 * MAX_WHOLE_BYTES
"""A dead letter carries a whole record of another topic."""


def too_large(topic: str, size: int, limit: int) -> RecordTooLarge:
    return RecordTooLarge(
        f"a record of {size} bytes for {topic} is above the limit of {limit} bytes"
    )


def is_dead_letters(topic: str) -> bool:
    return topic.endswith(DEAD_LETTERS)
