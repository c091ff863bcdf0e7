"""ThingsBoard's own REST client for Python, unchanged, against a Cloud and an Edge."""

import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tb_rest_client.models import (
    Device,
    DeviceCredentials,
    Edge,
    SaveDeviceWithCredentialsRequest,
)
from tb_rest_client.rest import ApiException
from tb_rest_client.rest_client import RestClient

from tests.integration.tools.down import DEADLINE, up
from tests.integration.tools.sites import edgeferry

T = 1_700_000_000_000
NEVER = 9_000_000_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ready(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Any]]:
    data = tmp_path_factory.mktemp("clients") / "data"
    async with up(data) as (_, ready):
        yield {**ready, "data": data}


def logged_in(ready: Mapping[str, Any], site: str) -> RestClient:
    client = RestClient(ready[site]["http"])
    admin = ready["admin"]
    client.login(admin["username"], Path(admin["password_file"]).read_text().strip())
    return client


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def cloud(ready: dict[str, Any]) -> Iterator[RestClient]:
    client = logged_in(ready, "cloud")
    yield client
    client.api_client.rest_client.pool_manager.clear()


def test_a_user_logs_in_renews_and_logs_out(ready: dict[str, Any], cloud: RestClient) -> None:
    cloud.refresh()
    assert cloud.get_user().authority == "TENANT_ADMIN"
    cloud.logout()
    with pytest.raises(ApiException) as refused:
        cloud.get_user()
    assert (refused.value.status, json.loads(refused.value.body)["errorCode"]) == (401, 10)


def test_a_key_opens_as_far_as_its_user_may(ready: dict[str, Any]) -> None:
    settings = ("--settings", str(ready["data"] / "cloud" / "settings.yaml"), "--json")
    for command in ("add", "key"):
        told = subprocess.run(
            edgeferry("users", command, "reader", *settings), capture_output=True, check=True
        )
    client = RestClient(ready["cloud"]["http"])
    client.api_key_login(json.loads(told.stdout)["key"])
    assert client.get_user().authority == "CUSTOMER_USER"
    assert client.get_tenant_devices(page_size=10, page=0).total_elements >= 0
    with pytest.raises(ApiException) as refused:
        client.save_device(Device(name="not-allowed"))
    assert (refused.value.status, json.loads(refused.value.body)["errorCode"]) == (403, 20)


def test_devices_are_made_found_changed_and_deleted(cloud: RestClient) -> None:
    made = cloud.save_device(Device(name="pump-1", type="pump"), access_token="t-pump-1")
    cloud.save_device(Device(name="pump-2", device_profile_id=made.device_profile_id))
    assert cloud.get_tenant_device("pump-1").id.id == made.id.id
    found = cloud.get_tenant_devices(
        page_size=10, page=0, type="pump", text_search="PUMP", sort_property="name",
        sort_order="DESC",
    )  # fmt: skip
    assert [one.name for one in found.data] == ["pump-2", "pump-1"]
    assert cloud.get_device_info_by_id(made.id).name == "pump-1"
    assert [one.name for one in cloud.get_devices_by_ids([made.id.id])] == ["pump-1"]
    assert "pump" in [one.type for one in cloud.get_device_types()]
    made.label = "blue"
    assert cloud.save_device(made).label == "blue"
    with pytest.raises(ApiException) as refused:
        cloud.save_device(Device(name="pump-1"))
    assert refused.value.status == 400
    for name in ("pump-1", "pump-2"):
        cloud.delete_device(cloud.get_tenant_device(name).id)
    with pytest.raises(ApiException) as gone:
        cloud.get_device_by_id(made.id)
    assert gone.value.status == 404


def test_credentials_of_each_type_are_kept(cloud: RestClient) -> None:
    device = cloud.save_device_with_credentials(
        SaveDeviceWithCredentialsRequest(
            device=Device(name="meter", type="meter"),
            credentials=DeviceCredentials(credentials_type="ACCESS_TOKEN", credentials_id="t-m"),
        )
    )
    kept = cloud.get_device_credentials_by_device_id(device.id)
    assert (kept.credentials_type, kept.credentials_id) == ("ACCESS_TOKEN", "t-m")
    kept.credentials_type = "MQTT_BASIC"
    kept.credentials_value = json.dumps({"clientId": "m", "userName": "u", "password": "p"})
    changed = cloud.update_device_credentials(kept)
    assert changed.credentials_id != "t-m"
    assert json.loads(changed.credentials_value)["userName"] == "u"


def test_profiles_are_the_types_in_use(cloud: RestClient) -> None:
    device = cloud.save_device(Device(name="valve-1", type="valve"))
    profile = cloud.get_device_profile_by_id(device.device_profile_id)
    assert (profile.name, profile.default) == ("valve", False)
    assert cloud.get_default_device_profile_info().name == "default"
    assert cloud.get_device_profile_info_by_id(device.device_profile_id).name == "valve"
    for page in (cloud.get_device_profiles(100, 0), cloud.get_device_profile_infos(100, 0)):
        assert {"default", "valve"} <= {one.name for one in page.data}


def test_telemetry_is_saved_read_aggregated_and_deleted(cloud: RestClient) -> None:
    id_ = cloud.save_device(Device(name="probe")).id
    for n in range(4):
        cloud.save_entity_telemetry(
            id_, "ANY", {"ts": T + n * 1000, "values": {"a": n, "b": n / 2}}
        )
    cloud.save_entity_telemetry_with_ttl(id_, "ANY", 3600, {"c": "x"})
    assert cloud.get_timeseries_keys_v1(id_) == ["a", "b", "c"]
    assert cloud.get_latest_timeseries(id_, keys="a")["a"][0].value == "3"
    strict = cloud.get_latest_timeseries(id_, key=["b"], use_strict_data_types=True)
    assert strict["b"][0].value == 1.5
    raw = cloud.get_timeseries(id_, T, T + 9000, keys="a,b", limit=2, order_by="ASC")
    assert [point.value for point in raw["a"]] == ["0", "1"]
    sums = cloud.get_timeseries(id_, T, T + 4000, keys="a", interval=2000, agg="SUM")
    assert [point.value for point in sums["a"]] == ["1", "5"]
    month = cloud.get_timeseries(
        id_, T, T + 4000, keys="a", interval_type="MONTH", time_zone="Europe/Berlin", agg="COUNT"
    )
    assert [point.value for point in month["a"]] == ["4"]
    cloud.delete_entity_timeseries(
        id_, keys="a", start_ts=T + 2000, end_ts=T + 9000, rewrite_latest_if_deleted=True
    )
    assert cloud.get_latest_timeseries(id_, keys="a")["a"][0].value == "1"
    cloud.delete_entity_timeseries(id_, keys="b", delete_all_data_for_keys=True)
    assert cloud.get_timeseries_keys_v1(id_) == ["a", "c"]


def test_attributes_are_saved_read_and_deleted_by_scope(cloud: RestClient) -> None:
    id_ = cloud.save_device(Device(name="tank")).id
    cloud.save_entity_attributes_v1(id_, "SERVER_SCOPE", {"s1": 1})
    cloud.save_entity_attributes_v2(id_, "SHARED_SCOPE", {"s2": "two"})
    cloud.save_device_attributes(id_, "SERVER_SCOPE", {"s3": True})
    assert {one.key: one.value for one in cloud.get_attributes(id_)} == {
        "s1": 1, "s2": "two", "s3": True,
    }  # fmt: skip
    assert [one.key for one in cloud.get_attributes_by_scope(id_, "SHARED_SCOPE")] == ["s2"]
    assert cloud.get_attribute_keys_by_scope(id_, "SERVER_SCOPE") == ["s1", "s3"]
    cloud.delete_entity_attributes(id_, "SERVER_SCOPE", keys="s1")
    cloud.delete_device_attributes(id_, "SHARED_SCOPE", key=["s2"])
    assert cloud.get_attribute_keys(id_) == ["s3"]
    with pytest.raises(ApiException) as refused:
        cloud.save_entity_attributes_v1(id_, "CLIENT_SCOPE", {"c": 1})
    assert refused.value.status == 400


def test_edges_are_made_listed_synchronised_and_deleted(cloud: RestClient) -> None:
    key, secret = "a-routing-key-of-ours", "a-secret-of-ours-1"
    made = cloud.save_edge(
        Edge(name="plant", type="plants", routing_key=key, secret=secret, edge_license_key="",
             cloud_endpoint="")
    )  # fmt: skip
    assert (made.routing_key, made.secret) == (key, secret)
    assert cloud.get_edge_by_id(made.id).name == "plant"
    assert cloud.get_edge_info_by_id(made.id).name == "plant"
    assert cloud.get_tenant_edge("plant").id.id == made.id.id
    assert [one.name for one in cloud.get_tenant_edges(10, 0, type="plants").data] == ["plant"]
    assert cloud.get_edges(10, 0).total_elements == 2
    assert cloud.get_tenant_edge_infos(10, 0, text_search="plant").total_elements == 1
    assert [one.name for one in cloud.get_edges_by_ids([made.id.id])] == ["plant"]
    assert "plants" in [one.type for one in cloud.get_edge_types()]
    assert cloud.is_edges_support_enabled()
    cloud.sync_edge(made.id)
    cloud.delete_edge(made.id)
    with pytest.raises(ApiException) as gone:
        cloud.get_edge_by_id(made.id)
    assert gone.value.status == 404


def test_events_of_an_edge_are_shown_in_either_order(
    ready: dict[str, Any], cloud: RestClient
) -> None:
    edge = cloud.get_edges(10, 0).data[0]
    id_ = cloud.get_tenant_device(ready["devices"][0]["name"]).id
    for n in range(3):
        cloud.save_entity_attributes_v2(id_, "SERVER_SCOPE", {"n": n})

    def numbers(order: str) -> list[int]:
        page = cloud.get_edge_events(
            edge.id, 100, 0, text_search="dev", sort_property="createdTime", sort_order=order,
            start_time=0, end_time=NEVER,
        )  # fmt: skip
        return [one.seq_id for one in page.data if (one.body or {}).get("kv", {}).keys() == {"n"}]

    until(lambda: len(numbers("ASC")) == 3)
    assert numbers("ASC") == numbers("DESC")[::-1] == sorted(numbers("ASC"))


def test_commands_wait_are_listed_deleted_and_answered(cloud: RestClient) -> None:
    id_ = cloud.save_device(Device(name="gate"), access_token="t-gate").id
    body = {"method": "open", "params": {"a": 1}, "persistent": True, "expirationTime": NEVER}
    kept = [
        call(id_, body)["rpcId"]
        for call in (
            cloud.handle_one_way_device_rpc_request,
            cloud.handle_two_way_device_rpc_request_v1,
        )
    ]
    page = cloud.get_persisted_rpc_by_device(id_, 10, 0, rpc_status="QUEUED")
    assert {row["id"]["id"] for row in page["data"]} == set(kept)
    assert cloud.get_persisted_rpc(kept[0]).status == "QUEUED"
    for rpc_id in kept:
        cloud.delete_rpc(rpc_id)
        with pytest.raises(ApiException) as gone:
            cloud.get_persisted_rpc(rpc_id)
        assert gone.value.status == 404
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(
            cloud.handle_two_way_device_rpc_request, id_, {"method": "ask", "params": 7}
        )
        asked = cloud.subscribe_to_commands("t-gate", timeout=20_000)
        assert (asked["method"], asked["params"]) == ("ask", 7)
        cloud.reply_to_command("t-gate", asked["id"], {"answer": 42})
        assert call.result(30) == {"answer": 42}


def test_an_edge_shows_the_events_that_it_has_made_for_the_cloud(ready: dict[str, Any]) -> None:
    edge = logged_in(ready, "edge")
    edge.post_telemetry(ready["devices"][0]["token"], {"ts": T, "values": {"at_the_edge": 1}})
    headers = {"X-Authorization": f"Bearer {edge.get_token()}"}
    with httpx.Client(base_url=f"http://{ready['edge']['http']}", headers=headers) as client:

        def bodies() -> list[Any]:
            page = client.get("/api/edge/events", params={"pageSize": 50, "page": 0}).json()
            return [row["entityBody"] for row in page["data"]]

        wanted = {"timeseries": [{"ts": T, "values": {"at_the_edge": 1}}]}
        until(lambda: wanted in bodies())
        refused = client.get("/api/edges", params={"pageSize": 1, "page": 0})
        assert refused.status_code == 403
    edge.api_client.rest_client.pool_manager.clear()
