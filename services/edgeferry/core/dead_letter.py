"""A record that could not be processed, whole, with its address and its reason."""

from typing import NamedTuple

from edgeferry.core.record import Headers


class DeadLetter(NamedTuple):
    """Times in ms; ``attempts`` counts tries of this record."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    topic: str
    partition: int
    offset: int
    site: str
    chain: str
    node: str
    error_class: str
    error_text: str
    first_failure: int
    last_failure: int
    attempts: int
