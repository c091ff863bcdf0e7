"""MQTT over TLS beside the plain listener."""

import ssl
from pathlib import Path

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.gateway.secure import secure_listener
from edgeferry.gateway.server import Gateway
from edgeferry.runtime.tls import ensure_dev_authority
from tests.unit.gateway.client_packets import RawClient
from tests.unit.gateway.fakes import TOKEN, MemoryLog, make_context


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
