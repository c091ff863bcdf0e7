"""The same gateway on uvloop, plain and over TLS."""

import asyncio
import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeferry.gateway.ports import Command, DevicePorts
from edgeferry.gateway.server import Gateway
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.fakes import DEVICE, TOKEN, MemoryLog, make_context
from tests.unit.gateway.links import FakeCommands
from tests.unit.gateway.test_device_api import subscribe
from tests.unit.gateway.test_gateway import until


def certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "gateway.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return path


async def talk(server: ssl.SSLContext | None, client: ssl.SSLContext | None) -> list[str]:
    log = MemoryLog()
    context = make_context(log, ports=DevicePorts(commands=FakeCommands()))
    gateway = Gateway(context, port=0, tls=server)
    await gateway.start()
    device = await RawClient(gateway.address, tls=client).open()
    assert (await device.connect(TOKEN)).codes == b"\0"
    for packet_id in range(1, 2_001):
        device.publish(packet_id, f'{{"n": {packet_id}}}')
    assert await device.acknowledged(2_000) == list(range(1, 2_001))
    await subscribe(device, "v1/devices/me/rpc/request/+", 0)
    gateway.api.push_command(DEVICE.id, Command("rpc-1", "m", "1", oneway=True))
    assert (await device.receive()).payload == b'{"method":"m","params":1}'
    await until(lambda: [state for _, state, _ in log.states()] == ["DELIVERED", "SUCCESSFUL"])
    stopping = asyncio.create_task(gateway.stop())
    assert await device.closed()
    await device.close()
    await stopping
    return [m.data for m in log.messages()]


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
@pytest.mark.parametrize("encrypted", [False, True])
def test_every_loop_serves_plain_and_encrypted_clients(
    new_loop: "type[asyncio.AbstractEventLoop]", encrypted: bool, tmp_path: Path
) -> None:
    server = client = None
    if encrypted:
        pem = certificate(tmp_path)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(pem)
        client = ssl.create_default_context(cafile=str(pem))
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(talk(server, client)) == [f'{{"n":{n}}}' for n in range(1, 2_001)]
