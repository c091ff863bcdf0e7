"""MQTT over TLS: where it listens, with which certificate, and whose it trusts."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

from edgeferry.core.credentials import certificate_id
from edgeferry.core.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class SecureListener:
    """port 0 takes a free one."""

    host: str
    port: int
    context: ssl.SSLContext


def secure_listener(
    host: str, port: int, cert: Path, key: Path, client_ca: Path | None = None
) -> SecureListener:
    """cert: the chain, key: its private key, client_ca: certificates that clients' ones have to
    come from or to be, all PEM; without it clients are not asked for one.

    Raises InvalidSettings."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(
            f"MQTT over TLS: certificate {cert} with key {key} cannot be used: {error}. "
            "Set mqtt.tls.cert and mqtt.tls.key to PEM files that belong together"
        ) from error
    if client_ca is not None:
        _trust(context, client_ca)
    return SecureListener(host, port, context)


def _trust(context: ssl.SSLContext, client_ca: Path) -> None:
    """A client that shows no certificate may still log in with a token. Raises InvalidSettings."""
    try:
        context.load_verify_locations(client_ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSettings(
            f"MQTT over TLS: the certificates {client_ca} cannot be used: {error}. Set "
            "mqtt.tls.client_ca to a PEM file with the certificates that clients' ones come from"
        ) from error
    context.verify_mode = ssl.CERT_OPTIONAL
    # what stands in the file is trusted as it is: also a device's own certificate
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def certificate_of(transport: asyncio.BaseTransport) -> str:
    """The id of the credentials that the client's certificate is; empty where there is none."""
    tls = transport.get_extra_info("ssl_object")
    der = tls.getpeercert(binary_form=True) if tls is not None else None
    return certificate_id(der) if der else ""
