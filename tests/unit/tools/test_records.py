"""How tools show records."""

from edgeferry.core.dead_letter import DeadLetter
from edgeferry.core.record import Record
from edgeferry.log.codec import encode_dead_letter
from edgeferry.tools.records import readable


def record(value: bytes | None, key: bytes | None = b"device-1") -> Record:
    return Record("cloud.root", 3, 17, 1000, key, value, (("type", b"X"), ("odd", b"\xff")))


LETTER = DeadLetter(
    key=b"\xfe", value=b"{", headers=(("h", b"1"),), topic="edge.root", partition=0, offset=5,
    site="edge", chain="edge_root", node="save", error_class="Undecodable", error_text="why",
    first_failure=1, last_failure=2, attempts=1,
)  # fmt: skip


def test_a_known_schema_is_decoded_and_its_bytes_are_hex() -> None:
    shown = readable(record(encode_dead_letter(LETTER)))
    assert shown["schema"] == "DeadLetter"
    value = shown["value"]
    assert isinstance(value, dict)
    assert (value["key"], value["value"], value["topic"]) == ("fe", "7b", "edge.root")


def test_its_place_key_and_headers_are_shown() -> None:
    shown = readable(record(None))
    assert (shown["topic"], shown["partition"], shown["offset"]) == ("cloud.root", 3, 17)
    assert shown["key"] == "device-1"
    assert shown["headers"] == {"type": "X", "odd": "\\xff"}


def test_what_cannot_be_decoded_is_shown_with_its_bytes_and_why() -> None:
    shown = readable(record(b"\x00\x00\x00\x03\xe7abc"))
    assert shown["undecodable"] == "schema id 999 is not known here"
    assert shown["bytes"] == "00000003e7616263"
    assert readable(record(None, None))["undecodable"] == "no value"
