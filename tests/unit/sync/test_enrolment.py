"""What an Edge is told before it keeps what it was given to join a Cloud."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.runtime.settings import SyncSettings
from edgeferry.runtime.tls_pins import fingerprint_to_pin
from edgeferry.sync.edges import remove_edge, rotate_secret
from edgeferry.sync.enrolment import NotEnrolled, Welcomed, ask_the_cloud
from tests.unit.sync.certificates import Chain, make_chain
from tests.unit.sync.links import Pair, until

pytestmark = pytest.mark.asyncio
NOW_MS = SystemClock().now_ms()
NOT_EDGEFERRY = "is not the sync port of an Edgeferry Cloud"


@dataclass(frozen=True)
class Given:
    """What the operator of an Edge is given."""

    cloud: str
    key: str
    secret: str
    fingerprint: str

    def settings(self) -> SyncSettings:
        return SyncSettings(address=self.cloud, edge_key=self.key, fingerprint=self.fingerprint)

    async def enrol(self) -> Welcomed:
        return await ask_the_cloud(self.settings(), self.secret, NOW_MS)

    async def refused(self, **wrong: str) -> str:
        with pytest.raises(NotEnrolled) as told:
            await replace(self, **wrong).enrol()
        return str(told.value)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest_asyncio.fixture
async def given(pair: Pair) -> AsyncIterator[Given]:
    async with pair.cloud_runs():
        yield of(pair)


def of(pair: Pair) -> Given:
    settings = pair.edge_settings
    assert settings.edge_secret_file is not None
    assert pair.cloud_settings.cert_file is not None
    return Given(
        cloud=settings.address,
        key=settings.edge_key,
        secret=settings.edge_secret_file.read_text(),
        fingerprint=fingerprint_to_pin(pair.cloud_settings.cert_file),
    )


async def test_what_is_right_is_welcomed_by_name(given: Given, pair: Pair) -> None:
    assert await given.enrol() == Welcomed(pair.edge_record.id, "edge-one")


async def test_each_wrong_value_has_its_own_words(given: Given) -> None:
    assert "no edge has the key 'nobody'" in await given.refused(key="nobody")
    assert "the secret of edge 'edge-one' is wrong" in await given.refused(secret="guessed")
    said = await given.refused(fingerprint=f"sha256:{'0' * 64}")
    assert f"has the fingerprint {given.fingerprint}, not sha256:000" in said
    assert "give the --fingerprint" in await given.refused(fingerprint="")
    assert "there is no host 'no.such.host.invalid'" in await given.refused(
        cloud="no.such.host.invalid:7070"
    )


async def test_an_edge_that_was_removed_is_told_so(given: Given, pair: Pair) -> None:
    assert pair.cloud_settings.edges_file is not None
    remove_edge(pair.cloud_settings.edges_file, "edge-one")
    assert "edge 'edge-one' was removed in the Cloud" in await given.refused()


async def test_a_cloud_that_does_not_run_is_told(pair: Pair) -> None:
    async with pair.cloud_runs():
        given = of(pair)
    said = await given.refused()
    assert f"{given.cloud} does not answer (Connection refused)" in said
    assert "--offline" in said


@pytest.mark.parametrize("greeting", [b"", b"220 mail\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
async def test_a_port_that_is_no_edgeferry_is_told(given: Given, greeting: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert NOT_EDGEFERRY in await given.refused(cloud=f"127.0.0.1:{port}")


async def test_another_grpc_server_is_told(given: Given, tmp_path: Path) -> None:
    chain = make_chain()
    async with _Grpc(chain) as port:
        said = await given.refused(cloud=f"127.0.0.1:{port}", fingerprint=chain.fingerprint)
    assert NOT_EDGEFERRY in said


async def test_a_certificate_that_has_expired_is_told(given: Given) -> None:
    chain = make_chain(days=(-10, -1))
    async with _Grpc(chain) as port:
        said = await given.refused(cloud=f"127.0.0.1:{port}", fingerprint=chain.fingerprint)
    assert "has expired on" in said


async def test_someone_between_with_the_clouds_authority_but_another_key_gets_no_secret(
    given: Given, pair: Pair
) -> None:
    """It presents the right authority above a certificate that this has not signed."""
    assert pair.cloud_settings.cert_file is not None
    own = make_chain()
    right = pair.cloud_settings.cert_file.read_bytes()
    authority = right[right.rindex(b"-----BEGIN CERTIFICATE-----") :]
    async with _Grpc(replace(own, pem=own.pem + authority)) as port:
        said = await given.refused(cloud=f"127.0.0.1:{port}")
    assert "is not one that everybody trusts" not in said
    assert "not signed by what its fingerprint stands for" in said


async def test_a_running_edge_trusts_by_fingerprint_and_comes_back(pair: Pair) -> None:
    async with pair.cloud_runs():
        pair.edge_settings = pair.edge_settings.model_copy(
            update={"ca_file": None, "fingerprint": of(pair).fingerprint}
        )
        async with pair.edge_runs() as edge:
            await until(lambda: edge.status().connected)


async def test_a_running_edge_says_when_the_fingerprint_is_anothers(pair: Pair) -> None:
    async with pair.cloud_runs():
        pair.edge_settings = pair.edge_settings.model_copy(
            update={"ca_file": None, "fingerprint": f"sha256:{'0' * 64}"}
        )
        async with pair.edge_runs() as edge:
            await until(lambda: "has the fingerprint sha256:" in edge.status().detail)
            assert not edge.status().connected


async def test_a_new_secret_ends_the_session_of_the_one_before(pair: Pair) -> None:
    assert pair.cloud_settings.edges_file is not None
    async with pair.cloud_runs(), pair.edge_runs() as edge:
        await until(lambda: edge.status().connected)
        _, secret = rotate_secret(pair.cloud_settings.edges_file, "edge-one")
        await until(lambda: "the secret of edge 'edge-one' is wrong" in edge.status().detail)
        assert pair.edge_settings.edge_secret_file is not None
        pair.edge_settings.edge_secret_file.write_text(secret)
        await until(lambda: edge.status().connected)


class _Grpc:
    """A gRPC server without a service."""

    def __init__(self, chain: Chain) -> None:
        self._credentials = grpc.ssl_server_credentials([(chain.key_pem, chain.pem)])
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> int:
        self._server = grpc.aio.server()
        port: int = self._server.add_secure_port("127.0.0.1:0", self._credentials)
        await self._server.start()
        return port

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._server.stop(None)
