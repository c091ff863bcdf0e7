"""From the Cloud to the device behind the Edge and back, on Kafka and Cassandra."""

from pathlib import Path

import httpx
import pytest

from tests.integration.tools.down import MqttDevice, Rest, up

pytestmark = pytest.mark.asyncio


@pytest.mark.usefixtures("emptied")
@pytest.mark.parametrize(
    "edge", [(), ("--edge-log", "kafka", "--edge-store", "cassandra")], ids=["embedded", "servers"]
)
async def test_attributes_and_commands_go_down_and_up(
    tmp_path: Path, kafka: str, cassandra: str, edge: tuple[str, ...]
) -> None:
    servers = ("--kafka", kafka, "--cassandra", cassandra, *edge)
    async with up(tmp_path / "data", *servers) as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        at_edge = await Rest(ready, "edge", client).login()
        await cloud.until_known()
        async with MqttDevice(ready) as device:
            await cloud.save_attributes("SHARED_SCOPE", {"limit": 5})
            await device.until_attributes({"limit": 5})
            await at_edge.until_attributes("SHARED_SCOPE", {"limit": 5})
            await device.publish_attributes({"serial": "x1"})
            await cloud.until_attributes("CLIENT_SCOPE", {"serial": "x1"})
            await at_edge.save_attributes("SERVER_SCOPE", {"at_the_edge": True})
            await cloud.until_attributes("SERVER_SCOPE", {"at_the_edge": True})
            call = {"method": "setValue", "params": {"v": 7}}
            answer = await cloud.call("POST", f"/api/rpc/twoway/{cloud.device}", json=call)
            assert (answer.status_code, answer.json()) == (200, {"echo": {"v": 7}})
            assert (len(device.attributes), len(device.commands)) == (1, 1)
