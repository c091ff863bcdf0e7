"""What every node type must obey, whichever it is; no type escapes, the registry is the list."""

import copy
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeferry.core.device_call import with_address
from edgeferry.core.errors import StoreUnavailable
from edgeferry.core.events import EdgeEvent
from edgeferry.core.message import RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.node import (
    ERROR_KEY,
    FAILURE,
    SUCCESS,
    Call,
    DeviceCall,
    Emit,
    NodeSpec,
    Output,
    Return,
)
from edgeferry.log.codec import (
    decode_cloud_event,
    decode_edge_event,
    decode_message,
    encode_cloud_event,
    encode_edge_event,
    encode_message,
)
from edgeferry.rules.registry import NODES
from tests.contract.node_driver import NodeUnderTest, message

CASES = Path(__file__).parent.parent / "cases" / "nodes"
SOURCES = Path(__file__).parent.parent.parent / "services" / "edgeferry" / "rules" / "nodes"

SAVED_TYPES = {
    "save_timeseries": "POST_TELEMETRY_REQUEST",
    "save_attributes": "POST_ATTRIBUTES_REQUEST",
    "delete_attributes": "POST_TELEMETRY_REQUEST",
    "delete_timeseries": "TIMESERIES_DELETED",
    "push_to_edge": "POST_TELEMETRY_REQUEST",
}
"""What a node with a port takes."""
SAVED_BODY = {"timeseries": ["a"], "startTs": 1, "endTs": 2}

every_node = pytest.mark.parametrize("spec", list(NODES.values()), ids=list(NODES))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
bodies = st.one_of(
    st.text(max_size=40),
    json_values.map(lambda value: value if not isinstance(value, str) else [value]),
    st.sampled_from(
        [
            '{"a": 1e999}',
            '{"a": NaN}',
            '{"a": "\\ud800"}',
            '{"\\udfff": {"a": [1]}}',
            "[" * 100_000,
            '{"a":' * 300 + "1" + "}" * 300,
            '{"a": ' + "9" * 5000 + "}",
            '{"a": [' + "9" * 30 + "]}",
            '{"ts": 1700000000000, "values": {"a": 1}}',
            '[{"ts": 1700000000000, "values": {"a": 1}}, {"b": 2}]',
            '{"ts": "x", "values": 5}',
            '{"attributes": ["a"]}',
            '{"method": "on", "params": {}}',
            '{"id": {"id": "9f7c1f80-5b1e-11f0-8000-0242ac120002"}}',
        ]
    ),
)
metadata = st.dictionaries(
    st.sampled_from(["ts", "TTL", "scope", "source", "deviceName", "version", "isNewAlarm", "x"]),
    st.sampled_from(["", "0", "1700000000000", "-5", "²", "9" * 60, "true", "CLIENT_SCOPE", "edge"])
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=10),
)
messages = st.builds(
    message,
    type=st.sampled_from([*MessageType, "ENTITY_CREATED", "CUSTOM", ""]),
    data=bodies,
    metadata=metadata,
    entity_type=st.sampled_from(["DEVICE", "ASSET", "RULE_CHAIN", "UNKNOWN"]),
    ts=st.integers(0, 2**45),
)


def options_of(spec: NodeSpec) -> object:
    """Options from the node's first case, for a type whose options have no defaults."""
    cases = yaml.safe_load((CASES / f"{spec.type}.yaml").read_text())
    return cases[0].get("config", {})


def leaving_of(spec: NodeSpec, *given: RuleMessage) -> Iterator[tuple[RuleMessage, Any]]:
    results = NodeUnderTest(spec, options_of(spec)).run(*given)
    assert len(results) == len(given), "one result per message, in their order"
    for before, leaving in zip(given, results, strict=True):
        for item in leaving:
            yield before, item


any_messages = given(st.lists(messages, min_size=1, max_size=4))
patient = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@every_node
@patient
@any_messages
def test_a_node_leaves_by_declared_relations_only(spec: NodeSpec, given: list[RuleMessage]) -> None:
    declared = {SUCCESS, FAILURE, *spec.relations}
    for _, item in leaving_of(spec, *given):
        assert not isinstance(item, Output) or item.relation in declared
        assert isinstance(item, Call) == (spec.calls is not None)
        assert isinstance(item, Return) == spec.returns


@every_node
@patient
@any_messages
def test_a_failure_says_why(spec: NodeSpec, given: list[RuleMessage]) -> None:
    for _, item in leaving_of(spec, *given):
        if isinstance(item, Output) and item.relation == FAILURE:
            assert item.message.metadata[ERROR_KEY].strip()


@every_node
@patient
@any_messages
def test_a_node_changes_nothing_it_was_given(spec: NodeSpec, given: list[RuleMessage]) -> None:
    before = [copy.deepcopy(dataclasses.astuple(one)[:-1]) for one in given]
    list(leaving_of(spec, *given))
    assert [dataclasses.astuple(one)[:-1] for one in given] == before


@every_node
@patient
@any_messages
def test_an_unchanged_message_passes_on_as_the_same_object(
    spec: NodeSpec, given: list[RuleMessage]
) -> None:
    for before, item in leaving_of(spec, *given):
        if isinstance(item, Output):
            assert item.message is before or item.message != before


@every_node
@patient
@any_messages
def test_what_leaves_can_be_written(spec: NodeSpec, given: list[RuleMessage]) -> None:
    for _, item in leaving_of(spec, *given):
        event = item.event if isinstance(item, Emit) else None
        if isinstance(event, EdgeEvent):
            told = decode_edge_event(encode_edge_event(event))
            assert (told.edge_id, told.event.id) == (event.edge_id, event.event.id)
        elif isinstance(event, RuleMessage):
            assert decode_message(encode_message(event)).id == event.id
        elif event is not None:
            assert decode_cloud_event(encode_cloud_event(event)).id == event.id
        elif isinstance(item, Output | Call | Return):
            assert encode_message(item.message)
        elif isinstance(item, DeviceCall):
            assert json.loads(json.dumps(with_address(item.request, "topic", item.message)))


@every_node
@patient
@any_messages
def test_a_repeated_message_leaves_the_same(spec: NodeSpec, given: list[RuleMessage]) -> None:
    assert str(list(leaving_of(spec, *given))) == str(list(leaving_of(spec, *given)))


@every_node
def test_an_unavailable_store_is_for_the_runner_to_wait_for(spec: NodeSpec) -> None:
    if spec.port is None:
        return
    node = NodeUnderTest(spec, options_of(spec))
    node.port.error = StoreUnavailable("away")
    given = message(type=SAVED_TYPES[spec.type], data=SAVED_BODY)
    with pytest.raises(StoreUnavailable):
        node.run(given)
    node.port.error = None
    node.run(given)
    if spec.port != "edges":
        assert len(node.port.saved) == 1, "a save that failed is repeated whole"


@every_node
def test_a_spec_is_complete(spec: NodeSpec) -> None:
    assert (spec.process is None) != (spec.process_batch is None)
    assert spec.process is None or spec.port is None, "a port is for process_batch"
    assert re.fullmatch(r"[a-z][a-z0-9_]*", spec.type)
    assert spec.summary.endswith(".")
    assert dataclasses.is_dataclass(spec.config)
    folded = [relation.lower() for relation in spec.relations]
    assert len(set(folded)) == len(folded)
    assert not {SUCCESS.lower(), FAILURE.lower()} & set(folded)


@every_node
def test_routing_by_type_is_what_process_does(spec: NodeSpec) -> None:
    if spec.by_type is None:
        return
    for kind in (*MessageType, "CUSTOM", ""):
        ((item,),) = NodeUnderTest(spec, options_of(spec)).run(message(type=kind, data={}))
        assert isinstance(item, Output)
        assert item.relation == spec.by_type(kind)


@every_node
def test_a_node_imports_core_only(spec: NodeSpec) -> None:
    source = (SOURCES / f"{spec.type}.py").read_text()
    imported = re.findall(r"^from edgeferry\.(\w+)", source, flags=re.MULTILINE)
    assert set(imported) <= {"core"}


@every_node
def test_every_node_has_cases(spec: NodeSpec) -> None:
    assert (CASES / f"{spec.type}.yaml").is_file()


def test_every_case_file_is_of_a_node() -> None:
    assert {path.stem for path in CASES.glob("*.yaml")} == set(NODES)
