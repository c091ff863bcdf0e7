"""From the Cloud to the device behind the Edge and back, without a server."""

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import aiomqtt
import httpx
import orjson
import pytest

from tests.integration.tools.down import MqttDevice, Rest, up

pytestmark = pytest.mark.asyncio


async def test_attributes_reach_the_device_behind_the_edge_and_come_up_from_it(
    tmp_path: Path,
) -> None:
    async with up(tmp_path / "data") as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        edge = await Rest(ready, "edge", client).login()
        await cloud.until_known()
        async with MqttDevice(ready) as device:
            await cloud.save_attributes("SHARED_SCOPE", {"limit": 5})
            await device.until_attributes({"limit": 5})
            await edge.until_attributes("SHARED_SCOPE", {"limit": 5})
            path = f"/api/plugins/telemetry/DEVICE/{cloud.device}/SHARED_SCOPE"
            assert (await cloud.call("DELETE", path, params={"keys": "limit"})).is_success
            await device.until_attributes({"deleted": ["limit"]})

            await device.publish_attributes({"serial": "x1"})
            await cloud.until_attributes("CLIENT_SCOPE", {"serial": "x1"})
            await edge.save_attributes("SERVER_SCOPE", {"at_the_edge": True})
            await cloud.until_attributes("SERVER_SCOPE", {"at_the_edge": True})

            # a device's own attributes, posted in the Cloud, stay there
            posted = f"/api/v1/{cloud.token}/attributes"
            assert (await cloud.call("POST", posted, json={"only_here": 1})).is_success
            await cloud.until_attributes("CLIENT_SCOPE", {"only_here": 1})
            await cloud.save_attributes("SERVER_SCOPE", {"barrier": 1})
            await edge.until_attributes("SERVER_SCOPE", {"barrier": 1})
            assert "only_here" not in await edge.attributes("CLIENT_SCOPE")
            assert len(device.attributes) == 2  # each change once
        events = await cloud.call(
            "GET",
            f"/api/edge/{await cloud.edge_id()}/events",
            params={"pageSize": 10, "page": 0},
        )
        actions = [row["action"] for row in events.json()["data"]]
        assert actions[:1] == ["ATTRIBUTES_UPDATED"]
        assert "ATTRIBUTES_DELETED" in actions


async def test_a_command_is_answered_by_the_device_behind_the_edge(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        await cloud.until_known()
        call = {"method": "setValue", "params": {"v": 7}}
        async with MqttDevice(ready) as device:
            answer = await cloud.call("POST", f"/api/rpc/twoway/{cloud.device}", json=call)
            assert (answer.status_code, answer.json()) == (200, {"echo": {"v": 7}})
            answer = await cloud.call("POST", f"/api/plugins/rpc/oneway/{cloud.device}", json=call)
            assert (answer.status_code, answer.content) == (200, b"")
            assert [(one["method"], one["params"]) for one in device.commands] == [
                ("setValue", {"v": 7}),
                ("setValue", {"v": 7}),
            ]
        timed_out = await cloud.call(
            "POST", f"/api/rpc/twoway/{cloud.device}", json={**call, "timeout": 5000}
        )
        assert timed_out.status_code == 504


async def test_a_persistent_command_waits_for_an_edge_and_a_device_that_are_away(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    async with up(data) as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        await cloud.until_known()
        edge_pid = orjson.loads((data / "running.json").read_bytes())["pids"]["edge"]
        os.kill(edge_pid, signal.SIGKILL)
        expires = 2_000_000_000_000
        call = {"method": "later", "params": 1, "persistent": True, "expirationTime": expires}
        answer = await cloud.call("POST", f"/api/rpc/twoway/{cloud.device}", json=call)
        rpc_id = answer.json()["rpcId"]
        await cloud.until_rpc(rpc_id, "QUEUED")
        async with asyncio.timeout(60):
            while orjson.loads((data / "running.json").read_bytes())["pids"]["edge"] == edge_pid:
                await asyncio.sleep(0.05)
        async with MqttDevice(ready) as device:
            shown = await cloud.until_rpc(rpc_id, "SUCCESSFUL")
            assert shown["response"] == {"echo": 1}
            assert len(device.commands) == 1


async def test_a_command_expires_at_both_ends_and_is_not_carried_out_later(
    tmp_path: Path,
) -> None:
    async with up(tmp_path / "data") as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        edge = await Rest(ready, "edge", client).login()
        await cloud.until_known()
        call = {"method": "late", "params": 1, "persistent": True}
        expires = {"expirationTime": round(time.time() * 1000) + 1_000}
        path = f"/api/rpc/twoway/{cloud.device}"
        rpc_id = (await cloud.call("POST", path, json=call | expires)).json()["rpcId"]
        for site in (cloud, edge):
            shown = await site.until_rpc(rpc_id, "EXPIRED")
            assert "before it was sent" in shown["response"]["error"]
        async with MqttDevice(ready) as device:
            in_time = {"expirationTime": round(time.time() * 1000) + 60_000}
            sent = await cloud.call("POST", path, json=call | in_time | {"params": 2})
            await cloud.until_rpc(sent.json()["rpcId"], "SUCCESSFUL")
            assert [one["params"] for one in device.commands] == [2]
        assert (await cloud.until_rpc(rpc_id, "EXPIRED"))["status"] == "EXPIRED"


async def test_a_device_made_and_assigned_in_the_cloud_connects_at_the_edge(
    tmp_path: Path,
) -> None:
    async with up(tmp_path / "data") as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        made = await cloud.call(
            "POST", "/api/device", params={"accessToken": "t-new"}, json={"name": "new"}
        )
        cloud.device = made.json()["id"]["id"]
        await cloud.save_attributes("SERVER_SCOPE", {"before": 1})
        edge_id = await cloud.edge_id()
        path = f"/api/edge/{edge_id}/device/{cloud.device}"
        assert (await cloud.call("POST", path)).status_code == 200
        edge = await Rest(ready, "edge", client).login()
        edge.device = cloud.device
        await edge.until_attributes("SERVER_SCOPE", {"before": 1})
        posted = await edge.call("POST", "/api/v1/t-new/telemetry", json={"t": 1})
        assert posted.status_code == 200
        assert (await cloud.call("DELETE", path)).status_code == 200
        async with asyncio.timeout(60):
            while (await edge.call("POST", "/api/v1/t-new/telemetry", json={"t": 2})).is_success:
                await asyncio.sleep(0.05)


async def test_a_gateway_speaks_for_devices_that_it_made_and_for_no_other(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        edge = await Rest(ready, "edge", client).login()
        await edge.call("POST", "/api/device", json={"name": "another"})
        made = {"name": "gateway", "additionalInfo": {"gateway": True}}
        await edge.call("POST", "/api/device?accessToken=t-gateway", json=made)
        host, _, port = ready["edge"]["mqtt"].rpartition(":")
        async with aiomqtt.Client(host, int(port), username="t-gateway") as gateway:
            sent = {"behind": [{"ts": 1_700_000_000_000, "values": {"t": 5}}]}
            await gateway.publish("v1/gateway/telemetry", orjson.dumps(sent), qos=1)
        query = {"deviceName": "behind"}
        async with asyncio.timeout(60):
            while (await cloud.call("GET", "/api/tenant/devices", params=query)).status_code != 200:
                await asyncio.sleep(0.05)
        made = (await cloud.call("GET", "/api/tenant/devices", params=query)).json()
        path = f"/api/plugins/telemetry/DEVICE/{made['id']['id']}/values/timeseries?keys=t"
        async with asyncio.timeout(60):
            while (await cloud.call("GET", path)).json()["t"][0]["value"] != "5":
                await asyncio.sleep(0.05)
        other = {"another": [{"ts": 1_700_000_000_000, "values": {"t": 6}}]}
        barrier = {"behind": [{"ts": 1_700_000_000_001, "values": {"t": 7}}]}
        for body in (other, barrier):
            with suppress(aiomqtt.MqttError):  # one that is refused may end the connection
                async with aiomqtt.Client(host, int(port), username="t-gateway") as gateway:
                    await gateway.publish("v1/gateway/telemetry", orjson.dumps(body), qos=1)
        async with asyncio.timeout(60):
            while (await cloud.call("GET", path)).json()["t"][0]["value"] != "7":
                await asyncio.sleep(0.05)
        found = (
            await edge.call("GET", "/api/tenant/devices", params={"deviceName": "another"})
        ).json()
        path = f"/api/plugins/telemetry/DEVICE/{found['id']['id']}/keys/timeseries"
        assert (await edge.call("GET", path)).json() == []
