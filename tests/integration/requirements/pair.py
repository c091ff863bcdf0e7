"""An Edge and its Cloud, used as devices, programs and operators use them."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import orjson

from edgeferry.core.clock import SystemClock
from edgeferry.core.message import RuleMessage
from edgeferry.core.record import HEADER_TYPE, Outgoing
from edgeferry.log.codec import encode_message
from edgeferry.log.open import open_log
from edgeferry.runtime.settings import load_settings
from edgeferry.runtime.strict_yaml import dump_yaml, load_yaml
from edgeferry.tools.bench.cut_link import CutLink
from tests.integration.requirements.stored import COMINGS_AND_GOINGS, Held, Stored
from tests.integration.tools.down import Rest
from tests.integration.tools.sites import Sites, run, until

TS = 1_700_000_000_000
Device = Mapping[str, str]
"""name, id and token."""


class Site:
    """One end."""

    def __init__(self, sites: Sites, role: str, name: str, stored: Stored) -> None:
        """``name``: the start of the names of its topics."""
        self.settings: Path = getattr(sites, role)
        self.role = role
        self.name = name
        self.stored = stored
        self._sites = sites
        self._running = AsyncExitStack()
        self._client = httpx.AsyncClient()
        self.rest: Rest
        self.mqtt: tuple[str, int]

    async def start(self) -> None:
        await self._running.enter_async_context(self._sites.running(self.settings))
        told = self._sites.told(self.settings)
        password = self._sites.folder / self.role / "admin-password"
        ready = {
            self.role: told,
            "admin": {"username": "tenant@edgeferry.local", "password_file": str(password)},
            "devices": [{"id": "", "token": ""}],
        }
        self.rest = await Rest(ready, self.role, self._client).login()
        host, _, port = told["mqtt"].rpartition(":")
        self.mqtt = host, int(port)

    async def stop(self) -> None:
        """In order; what the site was told stays."""
        await self._running.aclose()
        self._running = AsyncExitStack()

    async def kill(self) -> None:
        """At once, by SIGKILL."""
        os.kill(self._sites.told(self.settings)["pid"], signal.SIGKILL)
        with suppress(AssertionError, ProcessLookupError):
            await self._running.aclose()
        self._running = AsyncExitStack()

    @property
    def said(self) -> str:
        """What it has logged, ever."""
        return self.settings.with_suffix(".log").read_text()

    @asynccontextmanager
    async def rooted_in(self, chain: str) -> AsyncIterator[None]:
        """Meanwhile with another root chain, as an operator changes it: in the settings."""
        before = self.settings.read_text()
        document = load_yaml(before)
        document["root_chain"] = chain
        await self.stop()
        self.settings.write_text(dump_yaml(document))
        await self.edgeferry("topics", "apply")
        await self.start()
        try:
            yield
        finally:
            await self.stop()
            self.settings.write_text(before)
            await self.start()

    async def close(self) -> None:
        await self.stop()
        await self._client.aclose()

    @property
    def root_chain(self) -> str:
        """As its settings name it."""
        return load_settings(self.settings).root_chain

    async def edgeferry(self, *arguments: str) -> Any:
        """What a command tells of this site with ``--json``."""
        ended = await run(*arguments, "--settings", str(self.settings), "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    async def edgeferry_tool(self, *arguments: str) -> Any:
        """What a command that is about no site tells with ``--json``."""
        ended = await run(*arguments, "--json")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    def topic(self, name: str) -> list[Held]:
        """Such as ``root``."""
        return self.stored.topic(f"{self.name}.{name}")

    def topic_about(self, name: str, device: Device) -> list[dict[str, Any]]:
        """The records of a topic that are about a device."""
        return [held.value for held in self.topic(name) if held.value["entity_id"] == device["id"]]

    async def post(self, device: Device, what: str, body: object) -> None:
        """``what`` a device says by HTTP: ``telemetry`` or ``attributes``."""
        path = f"/api/v1/{device['token']}/{what}"
        answer = await self.rest.call("POST", path, content=orjson.dumps(body))
        assert answer.status_code == 200, answer.text

    async def tell_root_chain(self, message: RuleMessage) -> None:
        """A message into the root chain, as a program beside the site writes one."""
        settings = load_settings(self.settings)
        log = open_log(settings=settings.log, data=settings.data, clock=SystemClock(), owner=False)
        await log.start()
        try:
            headers = ((HEADER_TYPE, message.type.encode()),)
            key, value = message.entity_id.encode(), encode_message(message)
            await log.writer.append([Outgoing(f"{self.name}.root", key, value, headers)])
        finally:
            await log.stop()

    @asynccontextmanager
    async def connected(self, device: Device) -> AsyncIterator[aiomqtt.Client]:
        """A device by MQTT."""
        host, port = self.mqtt
        async with aiomqtt.Client(host, port, username=device["token"]) as client:
            yield client

    async def until_stored(self, look: Callable[[Stored], object]) -> None:
        """Until ``look`` holds of the tables and topics."""

        async def holds() -> bool:
            return bool(await asyncio.to_thread(look, self.stored))

        await until(holds)


class Pair:
    """Both, and the link between them."""

    def __init__(self, link: CutLink, edge: Site, cloud: Site) -> None:
        self.link = link
        self.edge = edge
        self.cloud = cloud
        self.edge_id = ""

    async def start(self) -> None:
        async with asyncio.TaskGroup() as group:
            for site in (self.edge, self.cloud):
                group.create_task(site.start())
        self.edge_id = await self.cloud.rest.edge_id()

    async def close(self) -> None:
        for site in (self.edge, self.cloud):
            await site.close()
        await self.link.stop()

    async def device(self, name: str, profile: str = "default") -> Device:
        """A new one of the Edge, once the Cloud knows it with its token."""
        made = await new_device(self.edge, name, profile)
        about = self.cloud.rest.about(made)

        async def known() -> bool:
            page = {"pageSize": 1000, "page": 0}
            path = f"/api/edge/{self.edge_id}/devices"
            rows = (await about.call("GET", path, params=page)).json()["data"]
            if made["id"] not in [row["id"]["id"] for row in rows]:
                return False
            credentials = await about.call("GET", f"/api/device/{made['id']}/credentials")
            return credentials.is_success

        await until(known)
        return made

    async def events(self, device: Device) -> list[dict[str, Any]]:
        """Of the Edge queue, about a device, oldest first, as GET /api/edge/{id}/events shows;
        without those of its comings and goings."""
        page = {"pageSize": 1000, "page": 0}
        answer = await self.cloud.rest.call("GET", f"/api/edge/{self.edge_id}/events", params=page)
        assert answer.status_code == 200, answer.text
        rows = answer.json()["data"]
        about = [row for row in reversed(rows) if row["entityId"] == device["id"]]
        return [row for row in about if not _keys(row) or _keys(row) - COMINGS_AND_GOINGS]

    async def until_events(
        self, device: Device, wanted: Callable[[list[dict[str, Any]]], object]
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []

        async def there() -> bool:
            found[:] = await self.events(device)
            return bool(wanted(found))

        await until(there)
        return found


def _keys(event: Mapping[str, Any]) -> set[str]:
    """Of the attributes that an event is about."""
    body = event["body"] or {}
    return {*body.get("kv", ()), *body.get("keys", ())}


async def new_device(site: Site, name: str, profile: str = "default") -> Device:
    body = {"name": name, "type": profile}
    answer = await site.rest.call("POST", "/api/device", json=body)
    assert answer.status_code == 200, answer.text
    id_: str = answer.json()["id"]["id"]
    shown = (await site.rest.call("GET", f"/api/device/{id_}/credentials")).json()
    return {"name": name, "id": id_, "token": shown["credentialsId"]}
