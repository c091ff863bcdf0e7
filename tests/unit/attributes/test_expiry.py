"""Commands whose time is over, at both ends."""

import json
from dataclasses import replace
from typing import cast

import pytest

from edgeferry.attributes.expiry import AT_ONCE, Expiry
from edgeferry.core.changes import (
    CLOUD_ORIGIN,
    RpcChange,
    RpcStatus,
    attempt_body,
    edge_origin,
    expiry_of,
)
from edgeferry.core.events import CloudEvent
from edgeferry.core.store import RpcStore
from tests.unit.attributes.memory import DEVICE, EDGE_A, Site, cloud, edge
from tests.unit.attributes.submitting import client

pytestmark = pytest.mark.asyncio
NOW = 1_700_000_000_000
A = edge_origin(EDGE_A)
REQUEST = json.dumps({"method": "m", "params": 1, "persisted": True, "expirationTime": NOW + 5_000})


def news(id_: str, status: RpcStatus, body: str = "", origin: str = CLOUD_ORIGIN) -> RpcChange:
    return RpcChange(id_, "t", DEVICE, "rpc-1", status, origin, NOW, body)


def expiry(site: Site) -> Expiry:
    store = cast(RpcStore, site.rpcs)
    return Expiry(
        here=site.here, tenant_id="t", store=store, changes=client(site), clock=site.clock
    )


def put(site: Site, *changes: RpcChange) -> None:
    for one in changes:
        site.put(one)
    site.handle()


def told(event: CloudEvent, origin: str) -> RpcChange:
    """What the other site makes of an event."""
    body = json.loads(event.rpc or "{}")
    status = RpcStatus(body.get("status", "QUEUED"))
    text = event.rpc if status is RpcStatus.QUEUED else body.get("response")
    return news(event.id, status, text or "", origin)


def status(site: Site) -> RpcStatus:
    return site.rpcs.known["rpc-1"].status


def exchange(above: Site, below: Site) -> None:
    """Until neither has anything to tell."""
    down, up = 0, 0
    while len(above.down.get(EDGE_A, ())) > down or len(below.up) > up:
        events = above.down.get(EDGE_A, [])[down:]
        down += len(events)
        put(below, *(told(event, CLOUD_ORIGIN) for event in events))
        events, up = below.up[up:], len(below.up)
        put(above, *(told(event, A) for event in events))


async def test_a_command_for_an_edge_that_is_away_expires_at_both_ends_and_says_so() -> None:
    above, below = cloud(EDGE_A), edge(EDGE_A)
    put(above, news("1", RpcStatus.QUEUED, REQUEST))
    above.clock.advance(4.9)
    assert await expiry(above).sweep() == 0
    above.clock.advance(0.1)
    assert [await expiry(above).sweep() for _ in range(2)] == [1, 0]
    assert status(above) is RpcStatus.EXPIRED
    assert "before it was sent" in above.rpcs.known["rpc-1"].answer
    assert [one.type for one in above.root] == ["RPC_QUEUED", "RPC_EXPIRED"]
    exchange(above, below)
    assert status(below) is RpcStatus.EXPIRED
    assert not below.up
    put(below, news("claim", RpcStatus.SENT, "", A))
    assert below.rpcs.known["rpc-1"].event_id != "claim"  # nobody may send it any more


async def test_both_ends_agree_whatever_each_said_first() -> None:
    for late, end in (
        (RpcStatus.DELIVERED, RpcStatus.EXPIRED),
        (RpcStatus.FAILED, RpcStatus.FAILED),
        (RpcStatus.TIMEOUT, RpcStatus.EXPIRED),
        (RpcStatus.EXPIRED, RpcStatus.EXPIRED),
        (RpcStatus.SUCCESSFUL, RpcStatus.SUCCESSFUL),
    ):
        above, below = cloud(EDGE_A), edge(EDGE_A)
        put(above, news("1", RpcStatus.QUEUED, REQUEST))
        put(below, told(above.down[EDGE_A][0], CLOUD_ORIGIN), news("2", late, '{"x": 1}', A))
        above.clock.advance(5)
        assert await expiry(above).sweep() == 1
        exchange(above, below)
        assert (status(above), status(below)) == (end, end)


async def test_the_end_of_a_command_that_never_came_to_an_edge_is_no_fault() -> None:
    below = edge(EDGE_A)
    put(below, news("1", RpcStatus.EXPIRED), news("2", RpcStatus.SENT, "", A))
    assert (below.rpcs.known, len(below.outputs.dead)) == ({}, 1)


async def test_a_look_is_bounded() -> None:
    site = cloud()
    for number in range(AT_ONCE + 1):
        put(site, replace(news(str(number), RpcStatus.QUEUED, REQUEST), rpc_id=f"rpc-{number}"))
    site.clock.advance(5)
    assert [await expiry(site).sweep() for _ in range(3)] == [AT_ONCE, 1, 0]


async def test_of_two_who_would_send_a_command_again_one_may() -> None:
    site = edge(EDGE_A)
    put(site, news("1", RpcStatus.QUEUED, REQUEST), news("2", RpcStatus.SENT, "", A))
    for number, attempt in (("3", 1), ("4", 2), ("5", 2)):
        put(site, news(number, RpcStatus.SENT, attempt_body(attempt), A))
    assert site.rpcs.known["rpc-1"].event_id == "4"
    assert len(site.up) == 2


async def test_what_says_no_time_has_no_end() -> None:
    for request in ("", "[]", "{", '{"expirationTime": true}', '{"expirationTime": -1}',
                    '{"expirationTime": 1.5}', '{"expirationTime": 9007199254740992}'):  # fmt: skip
        assert expiry_of(request) == 0
