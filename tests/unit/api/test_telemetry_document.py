"""What the OpenAPI document says of the telemetry paths."""

from typing import Any

import httpx
import pytest
import pytest_asyncio

PREFIX = "/api/plugins/telemetry/{entityType}/{entityId}"


@pytest_asyncio.fixture
async def document(client: httpx.AsyncClient) -> Any:
    return (await client.get("/openapi.json")).json()


def parameters(document: Any, path: str, method: str = "get") -> dict[str, Any]:
    return {one["name"]: one for one in document["paths"][PREFIX + path][method]["parameters"]}


@pytest.mark.asyncio
async def test_a_range_names_its_parameters_with_their_defaults(document: Any) -> None:
    found = parameters(document, "/values/timeseries")
    defaults = {name: one["schema"].get("default") for name, one in found.items()}
    assert defaults == {
        "entityType": None,
        "entityId": None,
        "keys": None,
        "key": [],
        "startTs": None,
        "endTs": None,
        "interval": 0,
        "intervalType": "MILLISECONDS",
        "timeZone": "",
        "limit": 100,
        "orderBy": "DESC",
        "agg": "NONE",
        "useStrictDataTypes": False,
    }
    assert found["agg"]["schema"]["enum"] == ["NONE", "MIN", "MAX", "AVG", "SUM", "COUNT"]
    assert found["intervalType"]["schema"]["enum"] == [
        *("MILLISECONDS", "WEEK", "WEEK_ISO", "MONTH", "QUARTER")
    ]


@pytest.mark.asyncio
async def test_a_delete_names_its_parameters_with_their_defaults(document: Any) -> None:
    found = parameters(document, "/timeseries/delete", "delete")
    assert {name: one["schema"].get("default") for name, one in found.items()} == {
        "entityType": None,
        "entityId": None,
        "keys": None,
        "key": [],
        "deleteAllDataForKeys": False,
        "startTs": None,
        "endTs": None,
        "deleteLatest": True,
        "rewriteLatestIfDeleted": False,
    }


@pytest.mark.asyncio
async def test_answers_have_the_shapes_and_codes_they_have(document: Any) -> None:
    of_telemetry = [path for path in document["paths"] if path.startswith(PREFIX)]
    assert len(of_telemetry) == 12
    for path in of_telemetry:
        for operation in document["paths"][path].values():
            responses = operation["responses"]
            assert set(responses) == {"200", "400", "401", "403", "404", "503", "default"}
            assert list(responses["400"]["content"]) == ["text/plain"]
            assert operation["security"]
    values = document["paths"][f"{PREFIX}/values/timeseries"]["get"]["responses"]["200"]
    schema = values["content"]["application/json"]["schema"]
    assert schema["additionalProperties"]["items"] == {"$ref": "#/components/schemas/Point"}
    deleted = document["paths"][f"{PREFIX}/timeseries/delete"]["delete"]["responses"]["200"]
    assert "content" not in deleted
