"""The REST interface does as its OpenAPI document says, whatever is sent to it: schemathesis
makes requests from the document of a running Cloud and Edge.

EDGEFERRY_TEST_FUZZ_EXAMPLES: how many for each operation, beside those at every border."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.tools.down import Rest, up

pytestmark = pytest.mark.asyncio

EXAMPLES = int(os.environ.get("EDGEFERRY_TEST_FUZZ_EXAMPLES", "2"))
NOBODY = "5f6e3a00-5b1e-11f0-8000-0242ac120002"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "allow_header_conformance",
    "ignored_auth",
)
# Ids of what is there, so that requests come further than "not found"; of nobody where a
# request takes it away or waits for a device.
CONFIG = """
[checks]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 409, 413]

[phases.coverage]
unexpected-methods = ["OPTIONS"]

[parameters]
"path.deviceId" = "{device}"
"path.entityId" = "{device}"
"path.edgeId" = "{edge}"
"path.deviceProfileId" = "{profile}"
"path.rpcId" = "{rpc}"

[[operations]]
include-path-regex = "/rpc/(oneway|twoway)/|/telemetry/.deviceId."
parameters = {{ "path.deviceId" = "{nobody}" }}

[[operations]]
include-method = "DELETE"
[operations.parameters]
"path.deviceId" = "{nobody}"
"path.edgeId" = "{nobody}"
"path.rpcId" = "{nobody}"
"""


async def known_ids(rest: Rest) -> dict[str, str]:
    device = (await rest.call("GET", f"/api/device/{rest.device}")).json()
    command = {"method": "m", "persistent": True, "expirationTime": 9_000_000_000_000}
    called = await rest.call("POST", f"/api/rpc/oneway/{rest.device}", json=command)
    return {
        "device": rest.device,
        "edge": await rest.edge_id(),
        "profile": device["deviceProfileId"]["id"],
        "rpc": called.json()["rpcId"],
        "nobody": NOBODY,
    }


async def fuzz(folder: Path, ready: Mapping[str, Any], site: str, *options: str) -> None:
    """Fails with what schemathesis tells."""
    url, document = f"http://{ready[site]['http']}", folder / "openapi.json"
    async with httpx.AsyncClient(base_url=url) as client:
        password = Path(ready["admin"]["password_file"]).read_text().strip()
        login = {"username": ready["admin"]["username"], "password": password}
        token = (await client.post("/api/auth/login", json=login)).json()["token"]
        header = f"X-Authorization: Bearer {token}"
        answer = await client.get("/openapi.json", headers={"X-Authorization": f"Bearer {token}"})
        document.write_bytes(answer.content)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(folder / "fuzz.toml")),
        *("run", str(document), "--url", url, "-H", header, "--no-color", "--no-shrink"),
        *("--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES), "--workers", "1"),
        *("--checks", ",".join(CHECKS), "--warnings", "off", "--generation-database", "none"),
        *("--request-timeout", "30", "--exclude-path", "/api/auth/logout", *options),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()


async def test_no_request_makes_an_error_of_ours_and_answers_are_as_documented(
    tmp_path: Path,
) -> None:
    async with up(tmp_path / "data") as (_, ready), httpx.AsyncClient() as client:
        cloud = await Rest(ready, "cloud", client).login()
        await cloud.until_known()
        config = CONFIG.format(**await known_ids(cloud))
        (tmp_path / "fuzz.toml").write_text(config)
        await fuzz(tmp_path, ready, "cloud")
        await fuzz(tmp_path, ready, "edge", "--include-path-regex", "^/api/edge|^/api/device/")
