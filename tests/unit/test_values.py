"""Payload shapes and value rules, by the exact parser and by the fast one alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.errors import InvalidPayload, PayloadTooLarge
from edgeferry.core.kv import TsPoint
from edgeferry.core.values import (
    check_depth,
    check_size,
    number_value,
    parse_json,
    telemetry_points,
)
from edgeferry.gateway.payload import read_attributes, read_telemetry, to_text
from edgeferry.runtime.settings import LimitSettings

NOW = 1_750_000_000_000
LIMITS = LimitSettings()
CASES: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[1] / "cases" / "payload_values.yaml").read_text()
)

Read = Callable[[bytes], list[TsPoint]]


def exactly(payload: bytes) -> list[TsPoint]:
    document = parse_json(payload)
    check_depth(document, LIMITS)
    return telemetry_points(document, NOW, LIMITS)


def fast(payload: bytes) -> list[TsPoint]:
    return read_telemetry(payload, NOW, LIMITS)


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in cases]


both_parsers = pytest.mark.parametrize("read", [exactly, fast])


@both_parsers
@pytest.mark.parametrize("case", named(CASES["telemetry"]))
def test_payload_shapes(case: dict[str, Any], read: Read) -> None:
    wanted = [TsPoint(NOW if ts == "now" else ts, values) for ts, values in case["points"]]
    assert read(case["payload"].encode()) == wanted


@both_parsers
@pytest.mark.parametrize("case", named(CASES["values"]))
def test_values_keep_their_type(case: dict[str, Any], read: Read) -> None:
    (point,) = read(b'{"v": %s}' % case["json"].encode())
    # repr tells 1 from 1.0 and from True, also within lists
    assert repr(point.values["v"]) == repr(case["value"])


@pytest.mark.parametrize("case", named(CASES["values"]))
def test_text_for_the_log_reads_back_as_the_same_value(case: dict[str, Any]) -> None:
    values = read_attributes(b'{"v": %s}' % case["json"].encode(), LIMITS)
    assert repr(json.loads(to_text(values))) == repr({"v": case["value"]})


@pytest.mark.parametrize("case", named(CASES["refused"]))
def test_refused_payloads_say_what_is_wrong(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidPayload) as caught:
        fast(case["payload"].encode())
    assert case["text"] in str(caught.value)


def test_bytes_that_are_no_utf8_are_refused() -> None:
    for payload in (b'{"t": "\xff"}', b'{"a": 1e3, "t": "\xff"}'):
        with pytest.raises(InvalidPayload, match="not JSON"):
            fast(payload)


def test_nesting_beyond_every_stack_is_refused() -> None:
    for payload in (b"[" * 60_000, b'{"a": 1e3, "b": ' + b"[" * 60_000):
        with pytest.raises(InvalidPayload, match="not JSON"):
            fast(payload)


def test_eight_levels_are_allowed() -> None:
    (point,) = fast(b'{"a": [[[[[[[1]]]]]]]}')
    assert point.values == {"a": [[[[[[[1]]]]]]]}


def test_attributes_are_a_flat_object() -> None:
    assert read_attributes(b'{"fw": "1.2.3", "ts": 1, "values": {}}', LIMITS) == {
        "fw": "1.2.3",
        "ts": 1,
        "values": {},
    }
    with pytest.raises(InvalidPayload, match="a JSON object is wanted, not an array"):
        read_attributes(b'[{"fw": 1}]', LIMITS)


def test_limits_of_size_keys_and_key_length() -> None:
    limits = LimitSettings(payload_bytes=40, keys_per_message=2, key_length=3)
    assert read_attributes(b'{"abc": 1, "b": 2}', limits) == {"abc": 1, "b": 2}
    with pytest.raises(InvalidPayload, match="3 keys are above the limit of 2"):
        read_attributes(b'{"a": 1, "b": 2, "c": 3}', limits)
    with pytest.raises(InvalidPayload, match=r"'abcd'.* 4 characters, above the limit of 3"):
        read_attributes(b'{"abcd": 1}', limits)
    with pytest.raises(PayloadTooLarge, match="41 bytes is above the limit of 40 bytes"):
        check_size(b" " * 41, limits)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.from_regex(r"-?[0-9]{0,25}\.?[0-9]{1,25}", fullmatch=True),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text("xyz", min_size=1, max_size=3), json_values, max_size=4))
def test_both_parsers_agree_on_every_payload(document: dict[str, Any]) -> None:
    payload = json.dumps(document).encode()
    try:
        wanted = exactly(payload)
    except InvalidPayload:
        with pytest.raises(InvalidPayload):
            fast(payload)
        return
    assert repr(fast(payload)) == repr(wanted)
    for point in wanted:
        assert repr(json.loads(to_text(point.values))) == repr(point.values)


@given(st.binary(max_size=40) | st.text('{}[]":,1e.-\\u ntf', max_size=40).map(str.encode))
def test_no_bytes_raise_anything_but_invalid_payload(payload: bytes) -> None:
    for read in (exactly, fast):
        try:
            read(payload)
        except InvalidPayload:
            continue


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,5})?", fullmatch=True)
)
def test_every_json_number_has_a_value_of_bounded_size(text: str) -> None:
    value = number_value(text)
    assert type(value) in (int, float, str)
    assert len(str(value)) < 600
