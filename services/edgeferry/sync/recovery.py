"""What a receiver finds again after a crash: pure."""

from collections.abc import Iterable
from typing import NamedTuple

from edgeferry.core.record import HEADER_EDGE, HEADER_EPOCH, HEADER_OFFSET, Headers
from edgeferry.sync.resume import Want


class Origin(NamedTuple):
    """Where a received record comes from: its address in the sender's log."""

    edge: bytes
    epoch: int
    offset: int


def origin_of(headers: Headers) -> Origin | None:
    """None when the last three headers are not those: a sender's own are not believed."""
    if len(headers) < 3:
        return None
    (edge_name, edge), (epoch_name, epoch), (offset_name, offset) = headers[-3:]
    if (edge_name, epoch_name, offset_name) != (HEADER_EDGE, HEADER_EPOCH, HEADER_OFFSET):
        return None
    try:
        return Origin(edge, int(epoch), int(offset))
    except ValueError:
        return None


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
