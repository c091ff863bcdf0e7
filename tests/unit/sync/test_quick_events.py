"""The quick reader of telemetry says what the codec says, or nothing."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeferry.core.errors import Undecodable
from edgeferry.core.events import AttributesBody, CloudEvent
from edgeferry.core.kv import Scope, TsPoint, Value
from edgeferry.core.record import Record
from edgeferry.log.codec import decode_cloud_event, encode_cloud_event
from edgeferry.sync.messages import RuleMessages, UnsupportedAction
from edgeferry.sync.quick_events import read_telemetry

LONGS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(max_size=80)
VALUES: st.SearchStrategy[Value] = (
    st.booleans()
    | LONGS
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.dictionaries(TEXT, st.integers(0, 9), max_size=2).map(dict)
)
POINTS = st.lists(
    st.builds(TsPoint, LONGS, st.dictionaries(TEXT, VALUES, min_size=1, max_size=5)),
    min_size=1,
    max_size=4,
)
TELEMETRY = st.builds(
    CloudEvent,
    id=TEXT, created_time=LONGS, stamp=LONGS, tenant_id=TEXT,
    action=st.just("TIMESERIES_UPDATED") | TEXT, type=TEXT,
    entity_type=TEXT, entity_id=TEXT, entity_name=TEXT, entity_profile=TEXT, timeseries=POINTS,
)  # fmt: skip


@given(TELEMETRY)
def test_telemetry_is_read_as_the_codec_reads_it(event: CloudEvent) -> None:
    quick = read_telemetry(encode_cloud_event(event))
    assert quick is not None
    assert quick.action == event.action
    assert quick.head._asdict() == {name: getattr(event, name) for name in quick.head._fields}
    assert event.timeseries is not None
    for (ts, values), point in zip(quick.points, event.timeseries, strict=True):
        assert ts == point.ts
        assert json.loads(orjson.dumps(values)) == point.values


@settings(max_examples=300)
@given(TELEMETRY, st.data())
def test_damaged_bytes_are_left_to_the_codec_or_read_as_it_reads_them(
    event: CloudEvent, data: st.DataObject
) -> None:
    damaged = bytearray(encode_cloud_event(event))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    for value in (bytes(damaged), bytes(damaged[:cut]), bytes(damaged) + b"x"):
        quick = read_telemetry(value)
        if quick is None:
            continue
        read = decode_cloud_event(value)
        assert read.timeseries is not None
        assert [ts for ts, _ in quick.points] == [point.ts for point in read.timeseries]
        assert quick.head.id == read.id


UNNAMED = encode_cloud_event(
    CloudEvent(
        "", 1, 1, "t", "TIMESERIES_UPDATED", "DEVICE", "DEVICE", "d", "n", "p",
        timeseries=[TsPoint(1, {"a": 1})],
    )
)  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\0\0\0\0\x03",
        encode_cloud_event(
            CloudEvent(
                "i", 1, 1, "t", "POST_ATTRIBUTES", "DEVICE", "DEVICE", "d", "n", "p",
                attributes=AttributesBody(Scope.CLIENT, 1, {"a": 1}, {}),
            )
        ),
        encode_cloud_event(
            CloudEvent(
                "i", 1, 1, "t", "TIMESERIES_UPDATED", "DEVICE", "DEVICE", "d", "n", "p",
                timeseries=[TsPoint(1, {"a": 1})], rpc="{}",
            )
        ),
        UNNAMED[:5] + b"\x01" + UNNAMED[6:],
    ],
    ids=["none", "empty", "other schema", "attributes", "two bodies", "negative length"],
)  # fmt: skip
def test_anything_else_is_left_to_the_codec(value: bytes | None) -> None:
    assert read_telemetry(value) is None


@given(TELEMETRY)
def test_messages_are_the_same_by_either_way(event: CloudEvent) -> None:
    """``rpc`` set makes the event one that only the codec reads."""
    by_codec = CloudEvent(
        **{name: getattr(event, name) for name in CloudEvent.__slots__ if name != "rpc"}, rpc="{}"
    )
    assert made(by_codec) == made(event)


def made(event: CloudEvent) -> object:
    record = Record("t", 0, 0, 5, b"k", encode_cloud_event(event), ())
    try:
        return RuleMessages(site="cloud", tenant_id="t", source="edge").of(record, b"e").records
    except (UnsupportedAction, Undecodable) as error:
        return str(error)
