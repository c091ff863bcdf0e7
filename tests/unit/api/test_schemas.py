import base64
import json

import pytest

from edgeferry.log.schemas import registered_schemas
from tests.unit.api.site import LOCAL, READ_TOKEN, Site


@pytest.mark.asyncio
async def test_every_registered_schema_is_found_by_its_id(site: Site) -> None:
    async with site.client(address=LOCAL) as client:
        for id_, schema in registered_schemas().items():
            answer = await client.get(f"/schemas/ids/{id_}")
            assert json.loads(answer.json()["schema"])["name"] == schema.subject
        answer = await client.get("/schemas/ids/999")
        assert (answer.status_code, answer.json()["error_code"]) == (404, 40403)


@pytest.mark.asyncio
async def test_a_topics_subject_leads_to_its_schema(site: Site) -> None:
    async with site.client(address=LOCAL) as client:
        subjects = (await client.get("/subjects")).json()
        assert subjects == ["cloud.cloud-events-value", "cloud.root-value"]
        assert (await client.get("/subjects/cloud.root-value/versions")).json() == [1]
        for version in ("1", "latest"):
            answer = await client.get(f"/subjects/cloud.root-value/versions/{version}")
            body = answer.json()
            assert (body["subject"], body["version"]) == ("cloud.root-value", 1)
            assert registered_schemas()[body["id"]].subject == "RuleMessage"
            assert json.loads(body["schema"])["name"] == "RuleMessage"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/subjects/none-value/versions", 40401),
        ("/subjects/none-value/versions/latest", 40401),
        ("/subjects/cloud.root-value/versions/7", 40402),
        ("/subjects/cloud.root-value/versions/x", 40402),
        ("/subjects/cloud.root-value/versions/01", 40402),
        ("/subjects/cloud.root-value/versions/\u0661", 40402),
        ("/subjects/cloud.root-value/versions/" + "9" * 5_000, 40402),
    ],
)
async def test_what_is_not_registered_is_404_as_confluents_clients_read_it(
    site: Site, path: str, code: int
) -> None:
    async with site.client(address=LOCAL) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()["error_code"]) == (404, code)


@pytest.mark.asyncio
async def test_the_registry_is_open_to_this_machine_a_user_and_the_read_token(site: Site) -> None:
    basic = base64.b64encode(f"any:{READ_TOKEN}".encode()).decode()
    user = (await site.login())["token"]
    for given in (f"Bearer {READ_TOKEN}", f"Basic {basic}", f"Bearer {user}"):
        async with site.client({"Authorization": given}) as client:
            assert (await client.get("/subjects")).status_code == 200, given


@pytest.mark.asyncio
async def test_the_registry_is_closed_to_others(site: Site) -> None:
    wrong = base64.b64encode(b"any:wrong").decode()
    for given in ("Bearer wrong", f"Basic {wrong}", "Basic ???", "Bearer", ""):
        async with site.client({"Authorization": given}) as client:
            assert (await client.get("/subjects")).status_code == 401, given
    async with site.client({"X-Forwarded-For": "192.0.2.7"}, address=LOCAL) as client:
        assert (await client.get("/subjects")).status_code == 401


@pytest.mark.asyncio
async def test_being_local_or_the_read_token_opens_nothing_else(site: Site) -> None:
    async with site.client({"Authorization": f"Bearer {READ_TOKEN}"}, address=LOCAL) as client:
        assert (await client.get("/openapi.json")).status_code == 401


@pytest.mark.asyncio
async def test_the_openapi_document_says_that_a_token_is_wanted(site: Site) -> None:
    token = (await site.login())["token"]
    async with site.client({"X-Authorization": f"Bearer {token}"}) as client:
        document = (await client.get("/openapi.json")).json()
        assert (await client.get("/docs")).status_code == 404
    latest = document["paths"]["/api/plugins/telemetry/{entityType}/{entityId}/values/timeseries"]
    assert latest["get"]["security"]
    names = {parameter["name"] for parameter in latest["get"]["parameters"]}
    assert names >= {"entityType", "entityId", "keys", "startTs", "endTs", "limit", "orderBy"}
