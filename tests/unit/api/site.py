"""A REST interface on a real SQLite store, without a socket."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher

from edgeferry.api.accounts import ADMIN_USERNAME
from edgeferry.api.auth import OpenedAuth
from edgeferry.api.passwords import Passwords
from edgeferry.core.clock import ManualClock
from edgeferry.core.store import Store

PASSWORD = "correct horse"
READ_TOKEN = "read-token-of-the-test"
JWT_SECRET = "a secret of the test that is long enough"
LOCAL, REMOTE = ("127.0.0.1", 50_000), ("192.0.2.7", 50_000)
TOPICS = {"cloud.root": "RuleMessage", "cloud.cloud-events": "CloudEvent"}


@dataclass(frozen=True)
class Site:
    store: Store
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
