"""The shape. Event-sourced microservices: each rule node its own Faust stream processor, chained
to the next through topics; Avro-typed topics; ts_kv_cf and ts_kv_latest_cf; a service that
publishes edge-bound events per scope."""

import json

import pytest
import yaml

from tests.integration.requirements.pair import TS, Device, Pair, Site
from tests.integration.requirements.stored import SCHEMAS

pytestmark = pytest.mark.asyncio(loop_scope="session")
NODES = {"switch": "root", "hot": "saves_attributes.hot", "save": "saves_attributes.save"}
"""The way of telemetry in the Cloud of the pair ``automatic``: node and its topic."""
CHANGES = {"AttributeChange", "EntityChange", "RpcChange"}
VALUES = {"long": 7, "double": 7.5, "text": "seven", "truth": True, "json": {"a": [1, {"b": 2}]}}


async def hot_message(pair: Pair, name: str, **values: object) -> Device:
    """Telemetry of a new device at the Edge, until it is stored in the Cloud."""
    device = await pair.device(name)
    values = {"temperature": 31, **values}
    await pair.edge.post(device, "telemetry", {"ts": TS, "values": values})
    wanted = {(key, TS): value for key, value in values.items()}
    for site in (pair.edge, pair.cloud):
        await site.until_stored(lambda held: held.history(device["id"]) == wanted)
        await site.until_stored(lambda held: held.latest(device["id"]) == wanted)
    return device


async def test_shape_each_rule_node_is_a_processor_of_its_own_chained_through_topics(
    automatic: Pair,
) -> None:
    cloud = automatic.cloud
    device = await hot_message(automatic, "11-through-the-topics")

    messages = [cloud.topic_about(topic, device) for topic in NODES.values()]
    (saved,) = messages[-1]  # the same message, hop by hop
    assert all(saved["id"] in [message["id"] for message in hop] for hop in messages)
    read_by = {f"{cloud.name}.{topic}" for topic in NODES.values()}  # a group for each node
    await cloud.until_stored(lambda held: read_by <= held.groups())
    assert NODES.keys() <= {row["node"] for row in (await cloud.edgeferry("lag"))["nodes"]}


async def test_shape_every_topic_holds_the_avro_records_that_the_catalogue_says(
    automatic: Pair,
) -> None:
    device = await hot_message(automatic, "11-typed")
    await automatic.cloud.rest.about(device).save_attributes("SHARED_SCOPE", {"a": 1})
    await automatic.edge.rest.about(device).until_attributes("SHARED_SCOPE", {"a": 1})
    catalogue = yaml.safe_load((SCHEMAS / "topics.yaml").read_text())
    for site in (automatic.edge, automatic.cloud):
        held = {
            name: {record.schema for record in site.topic(name)} for name in catalogue["topics"]
        }
        for name, topic in catalogue["topics"].items():
            allowed = CHANGES if name == "attribute-changes" else {topic["value"]}
            assert held[name] <= allowed, (site.name, name)
        assert {record.schema for record in site.topic("root")} == {"RuleMessage"}
        assert held["cloud-events"] == held["cloud-events-ts"] == {"CloudEvent"}
        assert held["edge-events"] == {"EdgeEvent"}
        await offers_the_schemas(site)


async def offers_the_schemas(site: Site) -> None:
    """As Confluent's registry: programs that know nothing of Edgeferry decode its topics."""
    for id_, row in yaml.safe_load((SCHEMAS / "ids.yaml").read_text()).items():
        answer = await site.rest.call("GET", f"/schemas/ids/{id_}")
        assert json.loads(answer.json()["schema"]) == json.loads(
            (SCHEMAS / row["file"]).read_text()
        )
    answer = await site.rest.call("GET", f"/subjects/{site.name}.root-value/versions/latest")
    assert answer.json()["id"] == 1


async def test_shape_the_attribute_change_service_publishes_edge_bound_events_per_scope(
    automatic: Pair,
) -> None:
    edge, cloud = automatic.edge, automatic.cloud
    device = await automatic.device("11-per-scope")
    await cloud.post(device, "attributes", {"a": 1})  # SERVER and SHARED by the chain's nodes
    await edge.post(device, "attributes", {"own": 1})  # CLIENT, which comes up
    scopes = ("SERVER_SCOPE", "SHARED_SCOPE")
    await edge.until_stored(
        lambda held: {(scope, "a") for scope in scopes} <= held.attributes(device["id"]).keys()
    )
    await cloud.until_stored(lambda held: ("CLIENT_SCOPE", "own") in held.attributes(device["id"]))

    changes = {change["scope"] for change in cloud.topic_about("attribute-changes", device)
               if "scope" in change}  # fmt: skip
    assert changes == {"CLIENT_SCOPE", *scopes}
    events = [
        held for held in cloud.topic("edge-events") if held.value["entity_id"] == device["id"]
    ]
    assert {held.key for held in events} == {automatic.edge_id}
    told = [
        (body["scope"], [(entry["key"], entry["long_v"]) for entry in body["values"]])
        for held in events
        if (body := held.value["attributes"])
    ]
    assert {scope for scope, _ in told} <= set(scopes)
    told = [(scope, values) for scope, values in told if values == [("a", 1)]]
    assert sorted(told) == [(scope, [("a", 1)]) for scope in scopes]


async def test_shape_series_and_latest_values_stand_in_their_tables_in_the_column_of_their_kind(
    automatic: Pair,
) -> None:
    await hot_message(automatic, "11-columns", **VALUES)
