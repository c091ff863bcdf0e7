"""Headers as the SQLite log keeps them."""

import pytest

from edgeferry.core.record import Headers
from edgeferry.log.sqlite_records import HeadersCodec


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("a", b""),),
        (("a", b"1"), ("a", b"2")),
        (("\u20ac" * 100, bytes(300)), ("b", bytes(70_000))),
    ],
)
def test_headers_come_back_as_they_were(headers: Headers) -> None:
    codec = HeadersCodec()
    for _ in range(2):
        assert codec.decode(codec.encode(headers)) == headers


def test_long_headers_are_not_kept_in_memory() -> None:
    codec = HeadersCodec()
    short, long = (("origin", b"edge"),), (("n" * 300, bytes(100_000)),)
    for headers in (short, long):
        codec.decode(codec.encode(headers))
    assert list(codec._decoded.values()) == [(), short]
    assert list(codec._names) == ["origin"]
