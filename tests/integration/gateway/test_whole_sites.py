"""An Edge and its Cloud: who may log in at either, and what both know of who is there."""

import json
from pathlib import Path

import aiomqtt
import httpx
import pytest

from tests.integration.tools.down import MqttDevice, Rest, up

pytestmark = pytest.mark.asyncio
SERVER = "SERVER_SCOPE"


async def test_credentials_set_in_the_cloud_let_the_device_in_at_the_edge_and_its_state_comes_up(
    tmp_path: Path,
) -> None:
    async with up(tmp_path / "data") as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        edge = await Rest(ready, "edge", client).login()
        await cloud.until_known()
        async with MqttDevice(ready):
            await edge.until_attributes(SERVER, {"active": True})
            await cloud.until_attributes(SERVER, {"active": True})
            there = await edge.attributes(SERVER)
            assert there["lastActivityTime"] >= there["lastConnectTime"] > 0
            assert "lastDisconnectTime" not in there

            basic = {"clientId": "pump-1", "userName": "factory", "password": "secret"}
            answer = await cloud.call(
                "POST",
                "/api/device/credentials",
                json={
                    "deviceId": {"entityType": "DEVICE", "id": cloud.device},
                    "credentialsType": "MQTT_BASIC",
                    "credentialsValue": json.dumps(basic),
                },
            )
            assert answer.status_code == 200, answer.text
            await cloud.save_attributes(SERVER, {"barrier": 1})
            await edge.until_attributes(SERVER, {"barrier": 1})

        host, _, port = ready["edge"]["mqtt"].rpartition(":")
        for password, is_in in (("wrong", False), ("secret", True)):
            device = aiomqtt.Client(
                host, int(port), identifier="pump-1", username="factory", password=password
            )
            try:
                async with device:
                    await device.publish("v1/devices/me/attributes", '{"in": true}', qos=1)
            except aiomqtt.MqttError:
                assert not is_in
            else:
                assert is_in
        await cloud.until_attributes("CLIENT_SCOPE", {"in": True})
        token = await edge.call("POST", f"/api/v1/{edge.token}/telemetry", json={"a": 1})
        assert token.status_code == 401

        # the last of it is at both ends, and nothing of it came down again
        await cloud.until_attributes(SERVER, {"barrier": 1})
        await edge.save_attributes(SERVER, {"last": 1})
        await cloud.until_attributes(SERVER, {"last": 1})
        at_edge, at_cloud = await edge.attributes(SERVER), await cloud.attributes(SERVER)
        assert at_cloud["active"] is at_edge["active"] is True
        path = f"/api/edge/{await cloud.edge_id()}/events"
        page = (await cloud.call("GET", path, params={"pageSize": 100, "page": 0})).json()
        down = [row for row in page["data"] if row["action"].startswith("ATTRIBUTES")]
        assert down
        assert all("barrier" in json.dumps(row) for row in down)
