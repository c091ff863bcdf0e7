"""An Edge whose outbox of attributes was too small: both ends have the same again."""

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.tools.ends import edgeferry, running

pytestmark = pytest.mark.asyncio
PORTS = ("--http=0", "--mqtt=0")
CAPS = {
    "EDGEFERRY_SYNC__OUTBOX__GENERAL__POLICY": "drop_oldest",
    "EDGEFERRY_SYNC__OUTBOX__GENERAL__MAX_EVENTS": "40",
}


async def told(*arguments: str) -> Any:
    ended = await edgeferry(*arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


async def client_scope(
    client: httpx.AsyncClient, http: str, password: Path, device: str
) -> dict[str, Any]:
    login = {"username": "tenant@edgeferry.local", "password": password.read_text().strip()}
    token = (await client.post(f"http://{http}/api/auth/login", json=login)).json()["token"]
    answer = await client.get(
        f"http://{http}/api/plugins/telemetry/DEVICE/{device}/values/attributes/CLIENT_SCOPE",
        headers={"X-Authorization": f"Bearer {token}"},
    )
    return {row["key"]: row["value"] for row in answer.json()} if answer.is_success else {}


async def test_attributes_that_were_dropped_reach_the_cloud_when_it_is_back(
    tmp_path: Path,
) -> None:
    here, there = tmp_path / "c", tmp_path / "e"
    log = tmp_path / "edge.err"
    run_cloud = (tmp_path / "cloud.err", "cloud", "--data", str(here))
    async with running(*run_cloud, *PORTS, "--sync=0") as (_, at):
        added = await told("edges", "add", "north", "--settings", at["settings"])
    words = [*shlex.split(added["command"])[2:], "--offline"]
    async with (
        httpx.AsyncClient() as client,
        running(log, "edge", "--data", str(there), *PORTS, *words, environment=CAPS) as (_, ready),
    ):
        device = await told("devices", "add", "pump", "--settings", ready["settings"])
        wanted = {f"b{number}": number for number in range(60)}
        for key, value in wanted.items():
            url = f"http://{ready['http']}/api/v1/{device['token']}/attributes"
            assert (await client.post(url, json={key: value})).is_success
        async with asyncio.timeout(90):
            while "are sent again when the Cloud is connected" not in log.read_text():
                await asyncio.sleep(0.1)
        shown = await told("outbox", "--settings", ready["settings"])
        general = shown["lanes"][0]
        assert (shown["running"], shown["link"]["connected"]) == (True, False)
        assert (general["cap_events"], general["full_of"]) == (40, "events")
        assert general["dropped"] > 0
        async with running(*run_cloud) as (_, at):
            password = here / "cloud" / "admin-password"
            async with asyncio.timeout(90):
                while await client_scope(client, at["http"], password, device["id"]) != wanted:
                    await asyncio.sleep(0.2)
            listed = await told("devices", "list", "--settings", at["settings"])
            assert [row["name"] for row in listed] == ["pump"]
            assert (await told("outbox", "--settings", ready["settings"]))["link"]["connected"]
