"""Identifiers. Nothing outside this file asks for randomness."""

import hashlib
import os
import re
import uuid

_VARIANTS = "89ab"
_ENTITY_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
DEFAULT_TENANT_ID = "8f1c6a10-5b1e-11f0-8000-0242ac120002"


def new_entity_id() -> str:
    """A version-1 UUID, as Cassandra's ``timeuuid`` columns want for entities."""
    node = int.from_bytes(os.urandom(6), "big") | 0x010000000000  # multicast: not a real card
    return str(uuid.uuid1(node=node))


def is_entity_id(text: str) -> bool:
    """A version-1 UUID in its usual form: lower case, with hyphens."""
    return _ENTITY_ID.fullmatch(text) is not None


def new_token() -> str:
    """A random 128-bit access token in 20-32 URL-safe characters."""
    return os.urandom(16).hex()


def new_secret() -> str:
    """A random 256-bit secret as hex."""
    return os.urandom(32).hex()


class MessageIds:
    """Unique message ids, cheap: a random half of this process and a counting half."""

    def __init__(self) -> None:
        self._half = os.urandom(8).hex()
        self._count = int.from_bytes(os.urandom(6), "big")

    def next(self) -> str:
        self._count += 1
        low = f"{self._count & 0xFFFFFFFFFFFFFFFF:016x}"
        half = self._half
        return f"{half[:8]}-{half[8:12]}-8{half[13:16]}-8{low[1:4]}-{low[4:]}"


class TraceIds:
    """W3C ``traceparent`` values of new traces, cheap: a random half and a counting half."""

    def __init__(self) -> None:
        self._half = os.urandom(8).hex().encode()
        self._count = int.from_bytes(os.urandom(8), "big") | 1

    def next(self) -> bytes:
        # An odd step visits every 64-bit number and leaves no two neighbours alike; 0 is not
        # a valid span, and the counter would need ages to come by.
        self._count = (self._count + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        count = self._count or 1
        return b"00-%b%016x-%016x-01" % (self._half, count, count)


def derived_id(input_id: str, node: str, index: int) -> str:
    """The id of a message that ``node`` makes from another: a repeated hop makes the same.

    A version-8 UUID."""
    h = hashlib.blake2b(f"{input_id}|{node}|{index}".encode(), digest_size=16).hexdigest()
    # formatted by hand: a uuid.UUID costs more than the hash
    return f"{h[:8]}-{h[8:12]}-8{h[13:16]}-{_VARIANTS[int(h[16], 16) & 3]}{h[17:20]}-{h[20:]}"
