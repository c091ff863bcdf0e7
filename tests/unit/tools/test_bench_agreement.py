"""What is found when both sites are compared after a load both ways."""

import json
from collections.abc import Mapping

import pytest

from edgeferry.core.changes import RpcStatus
from edgeferry.core.kv import Scope, Value
from edgeferry.core.store import Rpc
from edgeferry.tools.bench.agreement import FAULTS, Agreement, Held, agreement
from edgeferry.tools.bench.examination import faults

DEVICE = "5f0c8e70-0000-11f0-8000-0242ac120002"
DONE, SENT, QUEUED, EXPIRED = (
    *(RpcStatus.SUCCESSFUL, RpcStatus.SENT, RpcStatus.QUEUED),
    RpcStatus.EXPIRED,
)


def held(
    attributes: Mapping[str, tuple[Value | None, int]] | None = None,
    commands: Mapping[str, tuple[int, RpcStatus]] | None = None,
) -> Held:
    """Commands: rpc id -> number, state."""
    return Held(
        {(DEVICE, Scope.SHARED, key): row for key, row in (attributes or {}).items()},
        {
            rpc_id: Rpc(rpc_id, "t", DEVICE, status, request_of(number), "", 1, 1)
            for rpc_id, (number, status) in (commands or {}).items()
        },
    )


def request_of(number: int) -> str:
    return json.dumps({"method": "m", "params": {"number": number}})


def found(
    cloud: Held, edge: Held, executed: Mapping[int, int], *accepted: str
) -> tuple[Agreement, list[str]]:
    told = agreement(cloud, edge, executed, dict.fromkeys(accepted, 0))
    return told, [name for name in FAULTS if getattr(told, name)]


def test_two_sites_that_hold_the_same_have_no_fault() -> None:
    site = held({"a": (1, 5), "gone": (None, 6)}, {"r1": (1, DONE), "r2": (2, EXPIRED)})
    told, wrong = found(site, site, {1: 1}, "r1", "r2")
    assert wrong == []
    assert (told.attributes, told.commands, told.executed, told.answer_lost) == (2, 2, 1, 0)
    assert told.states == {"SUCCESSFUL": 1, "EXPIRED": 1}


@pytest.mark.parametrize("other", [{"a": (2, 5)}, {"a": (1, 6)}, {"a": (None, 5)}, {}])
def test_a_value_a_version_a_delete_and_an_absence_are_differences(
    other: dict[str, tuple[Value | None, int]],
) -> None:
    cloud, edge = held({"a": (1, 5)}), held(other)
    assert found(cloud, edge, {})[1] == found(edge, cloud, {})[1] == ["attributes_differ"]


@pytest.mark.parametrize(
    ("at_cloud", "at_edge", "executed", "wrong"),
    [
        (DONE, DONE, 2, ["commands_twice"]),
        (DONE, DONE, 0, ["commands_claimed"]),
        (QUEUED, QUEUED, 1, ["commands_not_told", "commands_open"]),
        (SENT, SENT, 1, ["commands_open"]),
        (DONE, EXPIRED, 1, ["commands_differ"]),
        (EXPIRED, EXPIRED, 1, []),
        (EXPIRED, None, 0, []),
        (DONE, None, 1, ["commands_differ"]),
        (None, None, 0, ["commands_lost"]),
    ],
)
def test_each_fault_of_a_command_is_told(
    at_cloud: RpcStatus | None, at_edge: RpcStatus | None, executed: int, wrong: list[str]
) -> None:
    cloud, edge = (
        held(commands={"r": (1, status)} if status else {}) for status in (at_cloud, at_edge)
    )
    told, faulty = found(cloud, edge, {1: executed} if executed else {}, "r")
    assert faulty == wrong
    assert told.answer_lost == (executed > 0 and at_cloud is not DONE)


def test_a_command_that_was_carried_out_and_is_not_known_is_lost() -> None:
    assert found(held(), held(), {7: 1})[1] == ["commands_lost"]


def test_the_faults_of_both_ways_are_those_of_a_trial_too() -> None:
    assert faults({"lost": 0, "both": {"commands_twice": 0, "answer_lost": 3}}) == []
    assert faults({"lost": 1, "both": {"commands_twice": 2}}) == ["lost", "commands_twice"]
