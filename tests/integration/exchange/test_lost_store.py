"""One end loses its store and keeps its log: both have the same again, without any command."""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.requirements.conftest import Embedded, Ground
from tests.integration.requirements.pair import Device, Pair, Site, new_device
from tests.integration.tools.sites import until

pytestmark = pytest.mark.asyncio(loop_scope="session")
CHAINS = {"edge": "edge_root", "cloud": "cloud_root"}
SERVER, SHARED, CLIENT = "SERVER_SCOPE", "SHARED_SCOPE", "CLIENT_SCOPE"
Attributes = Mapping[tuple[str, str], Any]


async def delete_attribute(site: Site, device: Device, scope: str, key: str) -> None:
    path = f"/api/plugins/telemetry/DEVICE/{device['id']}/{scope}"
    assert (await site.rest.call("DELETE", path, params={"keys": key})).is_success


async def save(site: Site, device: Device, scope: str, values: Mapping[str, Any]) -> None:
    await site.rest.about(device).save_attributes(scope, values)


async def relabel(site: Site, device: Device, label: str) -> None:
    shown = (await site.rest.call("GET", f"/api/device/{device['id']}")).json()
    answer = await site.rest.call("POST", "/api/device", json={**shown, "label": label})
    assert answer.is_success, answer.text


async def assigned_device(pair: Pair, name: str) -> Device:
    """Made in the Cloud, and known at the Edge."""
    device = await new_device(pair.cloud, name)
    path = f"/api/edge/{pair.edge_id}/device/{device['id']}"
    assert (await pair.cloud.rest.call("POST", path)).is_success
    return device


async def known(site: Site) -> dict[str, tuple[Any, ...]]:
    """Of each device of a test its name, label and token, by id."""
    page = {"pageSize": 1000, "page": 0}
    rows = (await site.rest.call("GET", "/api/tenant/devices", params=page)).json()["data"]
    found = {}
    for row in rows:
        id_ = row["id"]["id"]
        answer = (await site.rest.call("GET", f"/api/device/{id_}/credentials")).json()
        found[id_] = (row["name"], row["label"] or "", answer.get("credentialsId"))
    return found


def attributes(site: Site, devices: Mapping[str, Any], but: str = "") -> dict[str, Attributes]:
    return {
        device: {
            place: value
            for place, value in site.stored.attributes(device).items()
            if place[0] != but
        }
        for device in devices
    }


async def until_equal(pair: Pair, wanted: Mapping[str, Attributes], but: str = "") -> None:
    """Both ends have the same devices with the same attributes; of some devices these."""

    async def equal() -> bool:
        here, there = await known(pair.edge), await known(pair.cloud)
        if here != there or not wanted.keys() <= here.keys():
            return False
        mine = await asyncio.to_thread(attributes, pair.edge, here, but)
        theirs = await asyncio.to_thread(attributes, pair.cloud, here, but)
        return mine == theirs and all(mine[id_] == wanted[id_] for id_ in wanted)

    try:
        await until(equal)
    except TimeoutError:
        here, there = await known(pair.edge), await known(pair.cloud)
        assert here == there
        mine = attributes(pair.edge, here, but)
        assert mine == attributes(pair.cloud, here, but)
        assert {id_: mine[id_] for id_ in wanted} == wanted
        raise


async def until_both_ways(pair: Pair, device: Device) -> None:
    """What is changed at either end now comes to the other one."""
    await save(pair.edge, device, SHARED, {"up": 1})
    await save(pair.cloud, device, SHARED, {"down": 1})
    for site in (pair.edge, pair.cloud):
        about = site.rest.about(device)
        await about.until_attributes(SHARED, {"up": 1, "down": 1})


async def until_all_is_sent(pair: Pair, times: int) -> None:
    """As both ends show it, and the Cloud has told."""

    async def sent() -> bool:
        link = (await pair.edge.rest.call("GET", "/outbox")).json()["link"]
        (edge,) = (await pair.cloud.rest.call("GET", "/edges")).json()["edges"]
        told = pair.cloud.said.count("are on their way to it again")
        return told == times and not link["sending_all"] and not edge["sending_all"]

    await until(sent)


async def test_an_end_that_lost_its_store_has_all_again(ground: Ground) -> None:
    async with ground.pair("lost", CHAINS) as pair:
        await lose_in_the_cloud(pair)
        await lose_at_the_edge(pair)


async def lose_at_the_edge(pair: Pair) -> None:
    edge, cloud = pair.edge, pair.cloud
    mine, theirs = await pair.device("made-here"), await assigned_device(pair, "made-there")
    removed = await pair.device("removed-here")
    await save(edge, mine, SHARED, {"a": 1, "gone": 1})
    await edge.post(mine, "attributes", {"serial": "x1"})
    await save(cloud, mine, SERVER, {"b": 1})
    await save(cloud, theirs, SHARED, {"c": 1, "left": 1})
    await until_equal(
        pair,
        {
            mine["id"]: {(SHARED, "a"): 1, (SHARED, "gone"): 1, (SERVER, "b"): 1},
            theirs["id"]: {(SHARED, "c"): 1, (SHARED, "left"): 1},
            removed["id"]: {},
        },
        but=CLIENT,
    )
    async with pair.link.cut("refused"):
        await relabel(cloud, removed, "waits in the Edge queue")
        await save(edge, mine, SHARED, {"a": 2})
        await delete_attribute(edge, mine, SHARED, "gone")
        await relabel(edge, mine, "at the edge")
        late = await new_device(edge, "made-here-late")
        await save(edge, late, SHARED, {"d": 1})
        assert (await edge.rest.call("DELETE", f"/api/device/{removed['id']}")).is_success
        await save(cloud, theirs, SHARED, {"c": 2})
        await delete_attribute(cloud, theirs, SHARED, "left")
        await relabel(cloud, theirs, "in the cloud")
        later = await assigned_device(pair, "made-there-late")
        await save(cloud, later, SERVER, {"e": 1})
        await edge.stop()
        edge.stored.lose_store()
        await edge.start()
        assert "the store of this site is new" in edge.said
    await until_equal(
        pair,
        {
            mine["id"]: {(SHARED, "a"): 2, (SHARED, "gone"): None, (SERVER, "b"): 1},
            theirs["id"]: {(SHARED, "c"): 2, (SHARED, "left"): None},
            late["id"]: {(SHARED, "d"): 1},
            later["id"]: {(SERVER, "e"): 1},
        },
        but=CLIENT,
    )
    assert removed["id"] not in await known(edge)
    assert "its store is new" in cloud.said
    await until_both_ways(pair, mine)
    await until_all_is_sent(pair, times=2)
    (shown,) = (await cloud.rest.call("GET", "/edges")).json()["edges"]
    assert [lane["lost"] for lane in (*shown["lanes"], *shown["down"])] == [0, 0, 0, 0]


async def lose_in_the_cloud(pair: Pair) -> None:
    edge, cloud = pair.edge, pair.cloud
    mine, theirs = await pair.device("edge-2"), await assigned_device(pair, "cloud-2")
    removed = await pair.device("removed-there")
    await save(edge, mine, SHARED, {"a": 1})
    await edge.post(mine, "attributes", {"serial": "x1"})
    await save(cloud, mine, SERVER, {"b": 1, "gone": 1})
    await save(cloud, theirs, SHARED, {"c": 1})
    await relabel(cloud, theirs, "in the cloud")
    await delete_attribute(cloud, mine, SERVER, "gone")
    path = f"/api/device/{removed['id']}"
    assert (await cloud.rest.call("DELETE", path)).is_success
    base: dict[str, dict[tuple[str, str], Any]] = {
        mine["id"]: {
            (SHARED, "a"): 1,
            (SERVER, "b"): 1,
            (SERVER, "gone"): None,
            (CLIENT, "serial"): "x1",
        },
        theirs["id"]: {(SHARED, "c"): 1},
    }
    await until_equal(pair, base)
    async with pair.link.cut("refused"):
        await cloud.stop()
        cloud.stored.lose_store()
        await save(edge, mine, SHARED, {"a": 2})
        await relabel(edge, mine, "at the edge")
        late = await new_device(edge, "edge-2-late")
        await save(edge, late, SHARED, {"d": 1})
        await cloud.start()
        assert "the store of this site is new" in cloud.said
        await assigned_device(pair, "cloud-2-late")
    base[mine["id"]][SHARED, "a"] = 2
    await until_equal(pair, {**base, late["id"]: {(SHARED, "d"): 1}})
    assert removed["id"] not in await known(cloud)
    assert "the store of the Cloud is new" in edge.said
    await until_both_ways(pair, theirs)
    await until_all_is_sent(pair, times=1)


async def test_kills_and_the_loss_of_both_stores_leave_nothing_undone(tmp_path: Path) -> None:
    async with Ground(Embedded(), "killed", tmp_path).pair("pair", CHAINS) as pair:
        edge, cloud = pair.edge, pair.cloud
        devices = [await assigned_device(pair, f"pump-{number}") for number in range(12)]
        wanted = {}
        for number, device in enumerate(devices):
            await save(cloud, device, SHARED, {"n": number})
            wanted[device["id"]] = {(SHARED, "n"): number}
        await until_equal(pair, wanted)
        for lost, sends in ((edge, cloud), (cloud, edge)):
            await lost.stop()
            lost.stored.lose_store()
            await lost.start()
            await asyncio.sleep(random.uniform(0, 2))  # a moment of the exchange, any
            await sends.kill()
            await sends.start()
            await until_equal(pair, wanted)
        await until_both_ways(pair, devices[0])

        # What changes afterwards is not taken for what the logs had before.
        for site in (edge, cloud):
            await site.stop()
            site.stored.lose_store()
        for site in (edge, cloud):
            await site.start()
        await until_both_ways(pair, await pair.device("after"))
