"""A site whose files may not grow: what REST answers then is true, and it goes on afterwards."""

import asyncio
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.kv import Scope
from edgeferry.runtime.settings import load_settings
from edgeferry.store import open_store
from tests.integration.tools.ends import running
from tests.integration.tools.test_edge_and_cloud import CLOUD_PORTS, device

pytestmark = pytest.mark.asyncio
_ATTRIBUTES = "/api/plugins/telemetry/DEVICE/{id}/{what}SERVER_SCOPE"
_LONG = 8_000_000


class Site(NamedTuple):
    client: httpx.AsyncClient
    pid: int
    folder: Path
    pump: dict[str, str]

    async def save(self, **values: object) -> httpx.Response:
        path = _ATTRIBUTES.format(id=self.pump["id"], what="attributes/")
        return await self.client.post(path, json=values)

    async def saved(self) -> dict[str, Any]:
        path = _ATTRIBUTES.format(id=self.pump["id"], what="values/attributes/")
        answer = await self.client.get(path)
        assert answer.status_code == 200
        return {row["key"]: row["value"] for row in answer.json()}

    async def device_says(self, **values: object) -> httpx.Response:
        return await self.client.post(f"/api/v1/{self.pump['token']}/telemetry", json=values)

    def files_end_at(self, size: int) -> None:
        """No file of the process may be longer from now on."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, hard))

    async def ready(self) -> tuple[bool, str]:
        answer = await self.client.get("/readyz")
        parts = answer.json()["parts"]
        return answer.status_code == 200, " ".join(part["detail"] for part in parts.values())


async def test_what_rest_says_of_a_full_disk_is_true(tmp_path: Path) -> None:
    data = tmp_path / "d"
    options = ("cloud", "--data", str(data), *CLOUD_PORTS)
    environment = {"EDGEFERRY_DISK__MIN_FREE_BYTES": "0"}
    async with (
        running(tmp_path / "err", *options, environment=environment) as (process, at),
        httpx.AsyncClient(base_url=f"http://{at['http']}", timeout=60) as client,
    ):
        login = {"username": "tenant@edgeferry.local"}
        login["password"] = (data / "cloud" / "admin-password").read_text().strip()
        token = (await client.post("/api/auth/login", json=login)).json()["token"]
        client.headers["X-Authorization"] = f"Bearer {token}"
        site = Site(client, process.pid, data / "cloud", await device(at["settings"]))
        with long_journal(site.folder / "store.db"):
            site.files_end_at(_LONG)
            answers = await asyncio.gather(*(site.save(**{f"kept{n}": n}) for n in range(5)))
            for answer in answers:
                assert answer.status_code == 503
                assert "kept and will be decided" in answer.json()["message"]
            assert (await site.ready())[0] is False
        site.files_end_at(0)
        answers = [await site.save(refused=n) for n in range(5)]
        for answer in answers:
            assert answer.status_code == 503
            assert "not known to be kept" in answer.json()["message"]
        said = asyncio.create_task(site.device_says(t=1))
        is_ready, detail = await site.ready()
        assert not is_ready
        assert "make room on its disk" in detail
        assert (await client.get("/healthz")).status_code == 200
        answer = await said
        assert answer.status_code == 503
        assert "not known to be stored" in answer.text
        assert not any(key.startswith("kept") for key in await site.saved())
        site.files_end_at(resource.RLIM_INFINITY)
        wanted = {f"kept{n}": n for n in range(5)}
        async with asyncio.timeout(60):
            while not (wanted.items() <= (await site.saved()).items()):
                await asyncio.sleep(0.05)
            assert (await site.save(after=1)).status_code == 200
            while not (await site.ready())[0]:
                await asyncio.sleep(0.05)
        assert "refused" not in await site.saved()
    await _each_was_decided_once(Path(at["settings"]), site.pump["id"], wanted)


@contextmanager
def long_journal(path: Path) -> Iterator[None]:
    """Of the store: longer than any file of the log, and not begun anew meanwhile."""
    with closing(sqlite3.connect(path)) as reader, closing(sqlite3.connect(path)) as writer:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        writer.execute("CREATE TABLE filler (bytes)")
        writer.execute("INSERT INTO filler VALUES (zeroblob(?))", (_LONG,))
        writer.commit()
        writer.execute("DROP TABLE filler")
        writer.commit()
        yield


async def _each_was_decided_once(settings_file: Path, device_id: str, keys: Any) -> None:
    settings, clock = load_settings(settings_file), SystemClock()
    store = open_store(settings=settings.store, data=settings.data, clock=clock)
    await store.start()
    try:
        for key in keys:
            place = ("DEVICE", device_id, Scope.SERVER)
            assert len(await store.attributes.decisions(*place, key)) == 1
    finally:
        await store.stop()
