from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeferry.core.errors import StoreUnavailable
from edgeferry.core.kv import Scope, Value
from edgeferry.core.node import AttributesWrite, TimeseriesWrite
from tests.unit.api.site import Site

DEVICE = "784f394c-42b6-11ec-81d3-0242ac130003"
PATH = f"/api/plugins/telemetry/DEVICE/{DEVICE}"
T = 1_699_999_000_000


async def save(site: Site, *points: tuple[int, Mapping[str, Value]]) -> None:
    await site.store.timeseries.save(
        [TimeseriesWrite("DEVICE", DEVICE, ts, ts * 1000, values) for ts, values in points]
    )


async def save_attributes(site: Site, scope: Scope, values: dict[str, Value]) -> None:
    await site.store.attributes.save([AttributesWrite("DEVICE", DEVICE, scope, values, T, 1)])


async def ok(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await client.get(PATH + path, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


async def refused(client: httpx.AsyncClient, path: str, **params: Any) -> str:
    answer = await client.get(PATH + path, params=params)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return answer.text


@pytest.mark.asyncio
async def test_latest_values_are_strings_unless_strict(
    site: Site, client: httpx.AsyncClient
) -> None:
    values: dict[str, Value] = {
        "b": True, "l": 42, "d": 20.5, "s": "on", "j": {"a": [1, None]},
    }  # fmt: skip
    await save(site, (T, values))
    assert await ok(client, "/values/timeseries", keys="b,l,d,s,j") == {
        "b": [{"ts": T, "value": "true"}],
        "l": [{"ts": T, "value": "42"}],
        "d": [{"ts": T, "value": "20.5"}],
        "s": [{"ts": T, "value": "on"}],
        "j": [{"ts": T, "value": '{"a":[1,null]}'}],
    }
    strict = await ok(client, "/values/timeseries", keys="b,l,d,s,j", useStrictDataTypes="true")
    assert {key: points[0]["value"] for key, points in strict.items()} == values


@pytest.mark.asyncio
async def test_latest_without_keys_gives_all(site: Site, client: httpx.AsyncClient) -> None:
    await save(site, (T, {"a": 1, "b": 2}), (T + 1, {"a": 3}))
    assert await ok(client, "/values/timeseries") == {
        "a": [{"ts": T + 1, "value": "3"}],
        "b": [{"ts": T, "value": "2"}],
    }


@pytest.mark.asyncio
async def test_a_key_without_value_is_null_now(site: Site, client: httpx.AsyncClient) -> None:
    assert await ok(client, "/values/timeseries", keys="none") == {
        "none": [{"ts": site.clock.now_ms(), "value": None}]
    }


@pytest.mark.asyncio
async def test_a_range_is_half_open_and_newest_first(site: Site, client: httpx.AsyncClient) -> None:
    await save(site, *((T + i, {"a": i}) for i in range(4)))
    asked = {"keys": "a,none", "startTs": T + 1, "endTs": T + 3}
    assert await ok(client, "/values/timeseries", **asked) == {
        "a": [{"ts": T + 2, "value": "2"}, {"ts": T + 1, "value": "1"}]
    }
    assert await ok(client, "/values/timeseries", **asked, orderBy="ASC", limit=1) == {
        "a": [{"ts": T + 1, "value": "1"}]
    }
    assert await ok(client, "/values/timeseries", **asked, agg="NONE", useStrictDataTypes=True) == {
        "a": [{"ts": T + 2, "value": 2}, {"ts": T + 1, "value": 1}]
    }


@pytest.mark.asyncio
async def test_a_range_gives_a_hundred_values_unless_told(
    site: Site, client: httpx.AsyncClient
) -> None:
    await save(site, *((T + i, {"a": i}) for i in range(150)))
    asked = {"keys": "a", "startTs": T, "endTs": T + 1000}
    assert len((await ok(client, "/values/timeseries", **asked))["a"]) == 100
    assert len((await ok(client, "/values/timeseries", **asked, limit=200))["a"]) == 150


@pytest.mark.asyncio
async def test_keys_of_time_series(site: Site, client: httpx.AsyncClient) -> None:
    await save(site, (T, {"b": 1, "a": 2}))
    assert await ok(client, "/keys/timeseries") == ["a", "b"]


@pytest.mark.asyncio
async def test_attributes_by_scope_and_of_all_scopes(site: Site, client: httpx.AsyncClient) -> None:
    await save_attributes(site, Scope.CLIENT, {"fw": "1.2", "shared name": 1})
    await save_attributes(site, Scope.SERVER, {"limit": 5, "shared name": 2})
    assert await ok(client, "/values/attributes/CLIENT_SCOPE", keys="fw,none") == [
        {"lastUpdateTs": T, "key": "fw", "value": "1.2"}
    ]
    everything = await ok(client, "/values/attributes")
    assert sorted((row["key"], row["value"]) for row in everything if row["key"] != "fw") == [
        ("limit", 5),
        ("shared name", 1),
        ("shared name", 2),
    ]
    assert await ok(client, "/keys/attributes") == ["fw", "limit", "shared name"]
    assert await ok(client, "/keys/attributes/SERVER_SCOPE") == ["limit", "shared name"]
    assert await ok(client, "/keys/attributes/SHARED_SCOPE") == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "params", "said"),
    [
        ("/values/timeseries", {"keys": "a", "startTs": 1, "endTs": 2, "agg": "X"}, "agg"),
        ("/values/timeseries", {"keys": "a", "startTs": 1}, "endTs"),
        ("/values/timeseries", {"keys": "a", "startTs": 3, "endTs": 2}, "after"),
        ("/values/timeseries", {"keys": "a", "startTs": "x", "endTs": 2}, "startTs"),
        ("/values/timeseries", {"keys": "a", "startTs": 1, "endTs": 2**70}, "endTs"),
        ("/values/timeseries", {"startTs": 1, "endTs": 2}, "keys"),
        ("/values/timeseries", {"keys": "a", "startTs": 1, "endTs": 2, "limit": 0}, "limit"),
        ("/values/timeseries", {"keys": "a", "startTs": 1, "endTs": 2, "orderBy": "UP"}, "ASC"),
        ("/values/timeseries", {"keys": "a", "useStrictDataTypes": "perhaps"}, "useStrict"),
        ("/values/timeseries", {"keys": ",".join(f"k{i}" for i in range(300))}, "256"),
        (
            "/values/timeseries",
            {"keys": "a,b,c", "startTs": 1, "endTs": 2, "limit": 100_000},
            "smaller limit",
        ),
        ("/values/attributes/SECRET_SCOPE", {}, "CLIENT_SCOPE"),
        ("/keys/attributes/SECRET_SCOPE", {}, "CLIENT_SCOPE"),
    ],
)
async def test_a_bad_request_is_told_why_in_plain_text(
    client: httpx.AsyncClient, path: str, params: dict[str, Any], said: str
) -> None:
    assert said in await refused(client, path, **params)


@pytest.mark.asyncio
@pytest.mark.parametrize("entity", [f"GADGET/{DEVICE}", "DEVICE/not-an-id"])
async def test_an_entity_that_cannot_be_is_refused(client: httpx.AsyncClient, entity: str) -> None:
    answer = await client.get(f"/api/plugins/telemetry/{entity}/keys/timeseries")
    assert answer.status_code == 400
    assert answer.text.startswith("entity")


@pytest.mark.asyncio
async def test_an_id_is_the_same_in_any_spelling(site: Site, client: httpx.AsyncClient) -> None:
    await save(site, (T, {"a": 1}))
    answer = await client.get(f"/api/plugins/telemetry/DEVICE/{DEVICE.upper()}/keys/timeseries")
    assert answer.json() == ["a"]


@pytest.mark.asyncio
async def test_a_store_that_is_away_is_503(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("no host of 10.0.0.5:9042 answers")

    monkeypatch.setattr(type(site.store.timeseries), "latest", away)
    answer = await client.get(f"{PATH}/values/timeseries")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["errorCode"] == 46
    assert "10.0.0.5" not in answer.text


@pytest.mark.asyncio
async def test_our_own_fault_is_500_without_its_inside(
    site: Site, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("an inner detail")

    monkeypatch.setattr(type(site.store.timeseries), "latest", broken)
    answer = await client.get(f"{PATH}/values/timeseries")
    assert (answer.status_code, answer.json()["errorCode"]) == (500, 2)
    assert "inner" not in answer.text


@pytest.mark.asyncio
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    params=st.dictionaries(
        st.sampled_from(
            [
                *("keys", "startTs", "endTs", "limit", "orderBy", "useStrictDataTypes"),
                *("agg", "interval", "intervalType", "timeZone"),
            ]
        ),
        st.one_of(
            st.text(max_size=12),
            st.integers(-(2**70), 2**70).map(str),
            st.sampled_from(["ASC", "NONE", "true", "a,b", "0", "AVG", "MONTH", "+1", "Asia"]),
        ),
    )
)
async def test_whatever_is_asked_is_answered_or_refused(
    client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    answer = await client.get(f"{PATH}/values/timeseries", params=params)
    assert answer.status_code in (200, 400), (params, answer.text)
