"""The development certificate authority."""

import ssl
from pathlib import Path

import pytest

from edgeferry.core.clock import ManualClock, SystemClock
from edgeferry.runtime.tls import ensure_dev_authority


def test_a_client_that_trusts_the_authority_accepts_the_server(tmp_path: Path) -> None:
    paths = ensure_dev_authority(tmp_path, SystemClock())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(paths.cert, paths.key)
    client = ssl.create_default_context(cafile=str(paths.ca))
    for name in ("localhost", "127.0.0.1", "::1"):
        _shake_hands(client, server, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(client, server, "elsewhere.example")


def test_keys_are_private_and_a_second_start_changes_nothing(tmp_path: Path) -> None:
    paths = ensure_dev_authority(tmp_path, SystemClock())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*key.pem")} == {0o600}
    assert ensure_dev_authority(tmp_path, SystemClock()) == paths
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_certificate_near_its_end_is_made_anew_under_the_same_authority(tmp_path: Path) -> None:
    clock = ManualClock()
    paths = ensure_dev_authority(tmp_path, clock)
    authority, cert = paths.ca.read_bytes(), paths.cert.read_bytes()
    clock.advance(800 * 86_400)
    ensure_dev_authority(tmp_path, clock)
    assert paths.ca.read_bytes() == authority
    assert paths.cert.read_bytes() != cert


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client_end = client.wrap_bio(to_client, to_server, server_hostname=name)
    server_end = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for end in (client_end, server_end):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client_end.version() == "TLSv1.3"
