import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeferry.core.changes import (
    AttributeChange,
    Change,
    EntityAction,
    EntityChange,
    RpcChange,
    RpcStatus,
)
from edgeferry.core.errors import Undecodable, UnknownSchema
from edgeferry.core.kv import Scope
from edgeferry.log.change_codec import decode_change, encode_change
from edgeferry.log.codec import codec

KEYS = st.text(min_size=1, max_size=10)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(KEYS, st.booleans(), max_size=3),
)
IDS = st.uuids().map(str)
TIMES = st.integers(0, 2**53)
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(
        AttributeChange,
        id=IDS, tenant_id=IDS, entity_type=st.just("DEVICE"), entity_id=IDS,
        scope=st.sampled_from(Scope), origin=st.just("edge"), created_time=TIMES,
        upserts=st.dictionaries(KEYS, VALUES, max_size=4),
        deletes=st.just(()), versions=st.just({}),
    ),
    st.builds(
        EntityChange,
        id=IDS, tenant_id=IDS, entity_type=st.just("DEVICE"), entity_id=IDS,
        action=st.sampled_from(EntityAction), origin=st.just("cloud"), created_time=TIMES,
        edge_id=IDS, body=st.text(max_size=20), version=TIMES,
    ),
    st.builds(
        RpcChange,
        id=IDS, tenant_id=IDS, device_id=IDS, rpc_id=IDS, status=st.sampled_from(RpcStatus),
        origin=st.just("cloud"), created_time=TIMES, body=st.text(max_size=20),
    ),
)  # fmt: skip


@given(CHANGES)
def test_a_change_is_read_as_it_was_written(change: Change) -> None:
    assert decode_change(encode_change(change)) == change


def test_versions_of_deletes_travel_too() -> None:
    change = AttributeChange(
        id="i", tenant_id="t", entity_type="DEVICE", entity_id="e", scope=Scope.SHARED,
        origin="cloud", created_time=5, upserts={"a": 1}, deletes=("b", "c"),
        versions={"a": 7, "b": 8},
    )  # fmt: skip
    assert decode_change(encode_change(change)) == change


def test_a_record_of_another_kind_is_no_change() -> None:
    with pytest.raises(Undecodable):
        decode_change(None)
    with pytest.raises(UnknownSchema, match="99"):
        decode_change(b"\0\0\0\0\x63")
    with pytest.raises(Undecodable):
        decode_change(codec("RuleMessage").prefix + b"x")


def test_an_unknown_action_is_undecodable() -> None:
    entity = {
        "id": "i", "tenant_id": "t", "entity_type": "DEVICE", "entity_id": "e",
        "action": "PAINTED", "edge_id": "", "body": "", "version": 0, "origin": "o",
        "created_time": 1,
    }  # fmt: skip
    with pytest.raises(Undecodable, match="PAINTED"):
        decode_change(codec("EntityChange").encode(entity))
