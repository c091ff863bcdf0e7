"""MQTT over TLS: where it listens and with which certificate."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from edgeferry.core.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class SecureListener:
    """port 0 takes a free one."""

    host: str
    port: int
    context: ssl.SSLContext


def secure_listener(host: str, port: int, cert: Path, key: Path) -> SecureListener:
    """cert: the chain, key: its private key, both PEM. Raises InvalidSettings."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(
            f"MQTT over TLS: certificate {cert} with key {key} cannot be used: {error}. "
            "Set mqtt.tls.cert and mqtt.tls.key to PEM files that belong together"
        ) from error
    return SecureListener(host, port, context)
