"""MQTT over TLS beside the plain listener."""

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeferry.core.clock import SystemClock
from edgeferry.core.credentials import certificate_id
from edgeferry.core.errors import InvalidSettings
from edgeferry.gateway.devices import Device
from edgeferry.gateway.login import Login
from edgeferry.gateway.mqtt.packets import V5, Reason
from edgeferry.gateway.secure import secure_listener
from edgeferry.gateway.server import Gateway
from edgeferry.runtime.tls import ensure_dev_authority
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.fakes import (
    DEVICE,
    OTHER,
    TOKEN,
    FixedDevices,
    MemoryLog,
    make_context,
)


@pytest.mark.asyncio
async def test_both_listeners_serve_and_a_taken_port_is_told(tmp_path: Path) -> None:
    paths = ensure_dev_authority(tmp_path, SystemClock())
    secure = secure_listener("127.0.0.1", 0, paths.cert, paths.key)
    gateway = Gateway(make_context(MemoryLog()), port=0, secure=secure)
    await gateway.start()
    trust = ssl.create_default_context(cafile=str(paths.ca))
    for address, tls in ((gateway.address, None), (gateway.secure_address, trust)):
        device = await RawClient(address, tls=tls).open()
        assert (await device.connect(TOKEN)).codes == b"\0"
        await device.close()
    port = int(gateway.secure_address.rpartition(":")[2])
    taken = secure_listener("127.0.0.1", port, paths.cert, paths.key)
    with pytest.raises(InvalidSettings, match=r"port is taken.*mqtt\.tls\.port"):
        await Gateway(make_context(MemoryLog()), port=0, secure=taken).start()
    await gateway.stop()


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"Set mqtt\.tls\.cert and mqtt\.tls\.key"):
        secure_listener("127.0.0.1", 0, tmp_path / "none.pem", tmp_path / "none.key")


def own_certificate(folder: Path, name: str, issuer: str = "") -> tuple[Path, Path, str]:
    """A certificate and its key (PEM), signed by itself or by that of another name, and the id
    of the credentials that it is."""
    pem, key_pem = folder / f"{name}.pem", folder / f"{name}.key"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = key
    if issuer:
        above = x509.load_pem_x509_certificate((folder / f"{issuer}.pem").read_bytes())
        loaded = serialization.load_pem_private_key((folder / f"{issuer}.key").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        authority, signer = above.subject, loaded
    today = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    day = timedelta(days=1)
    number = x509.random_serial_number()
    built = (
        x509.CertificateBuilder(
            authority, subject, key.public_key(), number, today - day, today + day
        )
        .add_extension(x509.BasicConstraints(ca=not issuer, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    pem.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, key_pem, certificate_id(built.public_bytes(serialization.Encoding.DER))


class ByCertificate(FixedDevices):
    """Devices whose credentials are certificates or tokens."""

    def find(self, login: Login) -> Device | None:
        return self._by_token.get(login.certificate or login.user_name)


@pytest.mark.asyncio
async def test_a_device_logs_in_with_its_certificate(tmp_path: Path) -> None:
    paths = ensure_dev_authority(tmp_path, SystemClock())
    one, one_key, one_id = own_certificate(tmp_path, "one")
    authority, _, _ = own_certificate(tmp_path, "authority")
    two, two_key, two_id = own_certificate(tmp_path, "two", "authority")
    strange, strange_key, _ = own_certificate(tmp_path, "strange")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.read_bytes() + one.read_bytes())
    devices = ByCertificate(DEVICE, replace(OTHER, token=one_id), replace(DEVICE, token=two_id))
    secure = secure_listener("127.0.0.1", 0, paths.cert, paths.key, trusted)
    gateway = Gateway(make_context(MemoryLog(), devices=devices), port=0, secure=secure)
    await gateway.start()

    async def connect(token: str | None, *pair: Path) -> bytes:
        trust = ssl.create_default_context(cafile=str(paths.ca))
        if pair:
            trust.load_cert_chain(pair[0], pair[1])
        client = await RawClient(gateway.secure_address, V5, tls=trust).open()
        try:
            return (await client.connect(token)).codes
        finally:
            await client.close()

    assert await connect(None, one, one_key) == b"\0"
    assert await connect("no matter what", two, two_key) == b"\0"
    assert await connect(TOKEN) == b"\0"
    assert await connect(None) == bytes([Reason.NOT_AUTHORIZED])
    devices.replace(DEVICE)
    assert await connect(TOKEN, one, one_key) == bytes([Reason.NOT_AUTHORIZED])
    with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
        await connect(TOKEN, strange, strange_key)
    await gateway.stop()


def test_trust_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    paths = ensure_dev_authority(tmp_path, SystemClock())
    with pytest.raises(InvalidSettings, match=r"Set mqtt\.tls\.client_ca"):
        secure_listener("127.0.0.1", 0, paths.cert, paths.key, paths.key)
