"""The partition of a key."""

import aiokafka.partitioner
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.log import keys as keys_module
from edgeferry.log.keys import KeyHashes, murmur2


@given(st.binary(max_size=40))
def test_the_hash_is_that_of_kafkas_clients(key: bytes) -> None:
    assert murmur2(key) == aiokafka.partitioner.murmur2(key) & 0xFFFFFFFF


@given(st.binary(max_size=40))
def test_a_keys_hash_is_the_same_the_second_time(key: bytes) -> None:
    hashes = KeyHashes()
    assert hashes(key) == hashes(key) == KeyHashes()(key) >= 0


def test_known_hashes_are_java_clients() -> None:
    """org.apache.kafka.common.utils.UtilsTest.testMurmur2, made positive."""
    known = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    }
    for key, hash_ in known.items():
        assert KeyHashes()(key) == hash_ & 0x7FFFFFFF


def test_remembered_hashes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module, "_KNOWN_KEYS", 10)
    hashes = KeyHashes()
    for i in range(100):
        hashes(b"%d" % i)
    assert len(hashes._known) <= 10
