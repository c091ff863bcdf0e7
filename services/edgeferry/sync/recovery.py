"""What a receiver finds again after a crash: pure."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from edgeferry.core.record import HEADER_EDGE, HEADER_EPOCH, HEADER_OFFSET, Headers
from edgeferry.sync.resume import Want

_OF_LINK = (HEADER_EDGE, HEADER_EPOCH, HEADER_OFFSET)
_EDGE_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")
"""As an inbox writes them; an offset and its successor fit into 64 bits."""


class Origin(NamedTuple):
    """Where a received record comes from: its address in the sender's log."""

    edge: bytes
    epoch: int
    offset: int


def origin_of(headers: Headers) -> Origin | None:
    """None when the last three headers are not what an inbox could have written: a sender's
    own are not believed, nor a foreign writer's."""
    if not names_origin(headers):
        return None
    (_, edge), (_, epoch), (_, offset) = headers[-3:]
    if not (is_edge_id(edge) and _NUMBER.fullmatch(epoch) and _NUMBER.fullmatch(offset)):
        return None
    return Origin(edge, int(epoch), int(offset))


def names_origin(headers: Headers) -> bool:
    """Whether the last three headers have the names of an origin's."""
    return len(headers) >= 3 and tuple([name for name, _ in headers[-3:]]) == _OF_LINK


@lru_cache(maxsize=1_000)
def is_edge_id(text: bytes) -> bool:
    """Whether it is a UUID as text."""
    return _EDGE_ID.fullmatch(text) is not None


class Found(NamedTuple):
    """A record of the lane that stands in the received log above the checkpoint."""

    offset: int
    hash: bytes


def longest_prefix(checkpoint: Want, found: Iterable[Found]) -> Want:
    """The position up to which nothing is missing.

    A batch is spread over partitions, so after a crash 820 may stand without 801-819:
    the greatest offset seen proves nothing.
    """
    epoch, offset, seen, last = checkpoint
    hashes = {record.offset: record.hash for record in found}
    while offset in hashes:
        offset += 1
    if hashes and max(hashes) >= seen:
        seen = max(hashes) + 1
        last = hashes[seen - 1]
    return Want(epoch, offset, seen, last)
