"""Bodies of messages, where the cases of the nodes do not say it already."""

import pytest

from edgeferry.core.body import (
    attributes,
    data_ts,
    deleted_attributes,
    parsed,
    telemetry,
    updated_telemetry,
)
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.kv import TsPoint, Value
from tests.contract.node_driver import TS, message


def test_a_save_through_rest_announces_points() -> None:
    body = {"timeseries": [{"ts": TS - 1, "values": {"a": 1}}, {"ts": TS, "values": {"a": 2}}]}
    assert updated_telemetry(message(data=body), TS) == [
        TsPoint(TS - 1, {"a": 1}),
        TsPoint(TS, {"a": 2}),
    ]
    assert updated_telemetry(message(data={"a": 1}), TS) == [TsPoint(TS, {"a": 1})]


def test_a_key_named_timeseries_beside_others_is_a_value() -> None:
    body: dict[str, Value] = {"timeseries": [{"ts": TS, "values": {"a": 1}}], "b": 2}
    assert updated_telemetry(message(data=body), TS) == [TsPoint(TS, body)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ('{"a": [-Infinity]}', "-Infinity is no JSON number"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"\\udfff": 1}', "half a character"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' + "[" * 100 + "]" * 100 + "}", "nested deeper than 64"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
    ],
)
def test_what_could_not_be_written_again_is_not_read(body: str, reason: str) -> None:
    with pytest.raises(InvalidPayload, match=reason):
        parsed(message(data=body))


def test_a_whole_pair_of_surrogates_is_a_character() -> None:
    assert attributes(message(data='{"a": "\\ud83d\\ude00"}')) == {"a": "\U0001f600"}


def test_the_words_of_numbers_that_are_none_may_stand_in_texts() -> None:
    assert attributes(message(data='{"a": "NaN", "Infinity": 1}')) == {"a": "NaN", "Infinity": 1}


@pytest.mark.parametrize("text", ["x", "-1", "253402300800000", "9" * 5000, "1.5"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidPayload, match="metadata ts"):
        data_ts(message(metadata={"ts": text}))


@pytest.mark.parametrize("body", ["{}", '{"a": null}', "[]", "[{}]", '{"ts": 5e11, "values": {}}'])
def test_nothing_but_nulls_is_no_telemetry(body: str) -> None:
    with pytest.raises(InvalidPayload, match="no values"):
        telemetry(message(data=body), TS)


@pytest.mark.parametrize(
    "body", [{}, [], {"attributes": "a"}, {"attributes": [""]}, {"attributes": [1]}]
)
def test_deleted_attributes_want_names(body: object) -> None:
    with pytest.raises(InvalidPayload, match="deleted attributes want"):
        deleted_attributes(message(data=body))
