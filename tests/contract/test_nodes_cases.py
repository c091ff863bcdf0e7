"""Runs the cases of tests/cases/nodes/<type>.yaml: what a node makes of a message.

A case: name; config (options); messages, each with type, data (text, or a tree that
becomes JSON), metadata, entity_type, entity_id, ts, stamp; leaves, for each message a
list of what leaves it: {relation}, {failure: part of the reason}, both also with type and
data, {end: reason}, {call: chain}, {return: true}, {command: its id, request} or
{emit: channel, and fields of the event, of an edge's also edge_id}; saves, for a node
with a port: what was saved, fields given only.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeferry.core.node import (
    ERROR_KEY,
    FAILURE,
    Call,
    DeviceCall,
    Emit,
    End,
    Leaving,
    Return,
)
from edgeferry.rules.registry import NODES
from tests.contract.node_driver import NodeUnderTest, message

CASES = Path(__file__).parent.parent / "cases" / "nodes"
KEYS = {"name", "config", "messages", "leaves", "saves"}


def cases() -> list[Any]:
    found = []
    for path in sorted(CASES.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text()):
            assert set(case) <= KEYS, f"{path}: unknown keys in {case}"
            found.append(pytest.param(path.stem, case, id=f"{path.stem}: {case['name']}"))
    return found


@pytest.mark.parametrize(("node_type", "case"), cases())
def test_case(node_type: str, case: dict[str, Any]) -> None:
    node = NodeUnderTest(NODES[node_type], case.get("config"))
    given = [message(**fields) for fields in case["messages"]]

    results = node.run(*given)

    assert [[_seen(item) for item in leaving] for leaving in results] == [
        [_wanted(item, seen) for item, seen in _paired(wanted, leaving)]
        for wanted, leaving in zip(case["leaves"], results, strict=True)
    ]
    if "saves" in case:
        saved = [write._asdict() for write in node.port.saved]
        assert [_only(write, wanted) for write, wanted in _paired(saved, case["saves"])] == case[
            "saves"
        ]


def _paired(first: list[Any], second: list[Any]) -> list[tuple[Any, Any]]:
    assert len(first) == len(second), f"{len(first)} against {len(second)}: {first} {second}"
    return list(zip(first, second, strict=True))


def _seen(item: Leaving) -> dict[str, Any]:
    if isinstance(item, Emit):
        fields = asdict(item.event)
        fields.pop("_json", None)
        event = json.loads(json.dumps(fields))
        return {"emit": item.channel, **event.pop("event", {}), **event}
    if isinstance(item, End):
        return {"end": item.reason}
    if isinstance(item, Call):
        return {"call": item.chain}
    if isinstance(item, Return):
        return {"return": True}
    if isinstance(item, DeviceCall):
        return {"command": item.rpc_id, "request": dict(item.request)}
    left = item.message
    told = {"type": left.type, "data": left.data, "metadata": dict(left.metadata)}
    if item.relation == FAILURE:
        return {"failure": item.message.metadata[ERROR_KEY], **told}
    return {"relation": item.relation, **told}


def _wanted(wanted: dict[str, Any], item: Leaving) -> dict[str, Any]:
    """What the case wants, filled up with what it leaves open."""
    seen = _seen(item)
    if "failure" in wanted and wanted["failure"] in seen.get("failure", ""):
        return {**seen, **wanted, "failure": seen["failure"]}
    if any(kind in wanted and kind in seen for kind in ("emit", "relation")):
        return {**seen, **wanted}
    return wanted


def _only(write: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    return {name: write[name] for name in wanted}
