"""A REST interface on a real SQLite store, without a socket."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest_asyncio
from pydantic import SecretStr

from edgeferry.api.app import build_api
from edgeferry.api.auth import open_auth
from edgeferry.api.context import ApiContext
from edgeferry.core.clock import ManualClock
from edgeferry.core.ids import DEFAULT_TENANT_ID
from edgeferry.runtime.settings import ApiSettings, StoreSettings
from edgeferry.store import open_store
from tests.unit.api.site import (
    JWT_SECRET,
    PASSWORD,
    READ_TOKEN,
    TOPICS,
    ChangesAtOnce,
    Site,
    quick_passwords,
    writing,
)


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    clock = ManualClock()
    store = open_store(settings=StoreSettings(kind="sqlite"), data=tmp_path, clock=clock)
    await store.start()
    auth = open_auth(
        tmp_path,
        ApiSettings(jwt_secret=SecretStr(JWT_SECRET)),
        clock,
        tenant_id=DEFAULT_TENANT_ID,
        admin_password=PASSWORD,
        passwords=quick_passwords(),
    )
    changes = ChangesAtOnce(store, clock)
    context = ApiContext(
        store=store,
        auth=auth.auth,
        clock=clock,
        writing=writing(changes, clock, tmp_path),
        topics=TOPICS,
        read_token=READ_TOKEN,
    )
    yield Site(store, changes, clock, auth, build_api(context), tmp_path)
    await store.stop()


@pytest_asyncio.fixture
async def client(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """Logged in."""
    token = (await site.login())["token"]
    async with site.client({"X-Authorization": f"Bearer {token}"}) as client:
        yield client
