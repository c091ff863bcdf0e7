"""What an Edge is told before it keeps what it was given to join a Cloud."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import SyncSettings
from edgeferry.runtime.tls import ensure_dev_authority
from edgeferry.runtime.tls_pins import (
    Untrusted,
    fingerprint,
    fingerprint_to_pin,
    parsed_fingerprint,
    pinned,
    split_address,
)
from edgeferry.sync.edges import add_edge, remove_edge
from edgeferry.sync.enrolment import NotEnrolled, Welcomed, ask_the_cloud
from tests.unit.sync.links import Pair

pytestmark = pytest.mark.asyncio
NOW_MS = SystemClock().now_ms()
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Given:
    """What the operator of the Edge types."""

    cloud: str
    key: str
    secret: str
    fingerprint: str

    async def enrol(self) -> Welcomed:
        settings = SyncSettings(
            address=self.cloud, edge_key=self.key, fingerprint=self.fingerprint
        )
        return await ask_the_cloud(settings, self.secret, NOW_MS)

    async def refused(self, **wrong: str) -> str:
        with pytest.raises(NotEnrolled) as told:
            await replace(self, **wrong).enrol()
        return str(told.value)
