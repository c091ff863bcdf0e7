"""The partition of a key: murmur2 as every Java client computes it."""

_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_WORD = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF
_KNOWN_KEYS = 500_000


def murmur2(key: bytes) -> int:
    """The 32-bit hash of org.apache.kafka.common.utils.Utils.murmur2, unsigned."""
    length = len(key)
    whole = length & ~3
    found = (_SEED ^ length) & _WORD
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _FACTOR & _WORD
        word = (word ^ word >> 24) * _FACTOR & _WORD
        found = found * _FACTOR & _WORD ^ word
    if length > whole:
        found = (found ^ int.from_bytes(key[whole:], "little")) * _FACTOR & _WORD
    found = (found ^ found >> 13) * _FACTOR & _WORD
    return found ^ found >> 15


class KeyHashes:
    """murmur2 made positive, remembered per key (pure Python is slow)."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}

    def __call__(self, key: bytes) -> int:
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _KNOWN_KEYS:
                self._known.clear()
            found = self._known[key] = murmur2(key) & _POSITIVE
        return found
