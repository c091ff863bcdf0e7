"""A REST interface on a real SQLite store, without a socket."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher

from edgeferry.api.accounts import ADMIN_USERNAME
from edgeferry.api.auth import OpenedAuth
from edgeferry.api.context import Writing
from edgeferry.api.passwords import Passwords
from edgeferry.attributes.facts import Here
from edgeferry.attributes.notifier import Applied
from edgeferry.core.changes import CLOUD_ORIGIN, Change, News
from edgeferry.core.clock import Clock, ManualClock, Stamps
from edgeferry.core.errors import LogUnavailable
from edgeferry.core.ids import DEFAULT_TENANT_ID
from edgeferry.core.record import Outgoing, Record
from edgeferry.core.store import Store
from edgeferry.log.change_codec import encode_change
from edgeferry.runtime.settings import LimitSettings
from edgeferry.streams.processor import Outputs
from edgeferry.tools.listed_edges import ListedEdges
from edgeferry.tools.site_changes import attributes_service

PASSWORD = "correct horse"
READ_TOKEN = "read-token-of-the-test"
JWT_SECRET = "a secret of the test that is long enough"
LOCAL, REMOTE = ("127.0.0.1", 50_000), ("192.0.2.7", 50_000)
TOPICS = {"cloud.root": "RuleMessage", "cloud.cloud-events": "CloudEvent"}


class ChangesAtOnce:
    """The owner of changes without a log: what is submitted is applied. ``left``: what it
    would have appended. Also a LogWriter."""

    max_record_bytes = 1_000_000

    def __init__(self, store: Store, clock: Clock) -> None:
        self._clock = clock
        here = Here("cloud", CLOUD_ORIGIN)
        self._service = attributes_service(here, store, clock, Applied(), nodes=())
        self._count = 0
        self.left: list[Outgoing] = []
        self.away = False

    def news_of(self, device_id: str, rpc_id: str) -> News:
        return lambda seconds: asyncio.sleep(min(seconds, 0.005))

    async def submit(self, changes: Sequence[Change]) -> None:
        if self.away:
            raise LogUnavailable("away")
        topic = self._service.topics[0]
        records = []
        for change in changes:
            value, now_ms = encode_change(change), self._clock.now_ms()
            records.append(Record(topic, 0, self._count, now_ms, b"", value, ()))
            self._count += 1
        outputs = Outputs()
        await self._service.process(records, outputs)
        assert outputs.dead == []
        self.left += outputs.records

    async def append(self, records: Sequence[Outgoing]) -> None:
        self.left += records


def writing(changes: ChangesAtOnce, clock: Clock, folder: Path) -> Writing:
    return Writing(
        site="cloud",
        tenant_id=DEFAULT_TENANT_ID,
        changes=changes,
        writer=changes,
        stamps=Stamps(clock.now_ms),
        limits=LimitSettings(),
        edges=ListedEdges(folder / "edges.json"),
    )


@dataclass(frozen=True)
class Site:
    store: Store
    changes: ChangesAtOnce
    clock: ManualClock
    auth: OpenedAuth
    app: Any
    data: Path

    def client(
        self, headers: dict[str, str] | None = None, *, address: tuple[str, int] = REMOTE
    ) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=address, raise_app_exceptions=False)
        return httpx.AsyncClient(
            transport=transport, base_url="http://site", headers=headers, follow_redirects=False
        )

    async def login(self, password: str = PASSWORD) -> dict[str, str]:
        async with self.client() as client:
            answer = await client.post(
                "/api/auth/login", json={"username": ADMIN_USERNAME, "password": password}
            )
            assert answer.status_code == 200, answer.text
            pair: dict[str, str] = answer.json()
            return pair


def quick_passwords() -> Passwords:
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
