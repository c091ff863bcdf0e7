"""Trust in a server by the fingerprint of its certificate, as an Edge trusts its Cloud.

A fingerprint is the SHA-256 of a certificate (DER). It may be that of any certificate which
the server presents: its own, or that of the authority above it, which stays the same when
the server's own is renewed.
"""

import asyncio
import datetime
import hashlib
import os
import re
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgeferry.core.errors import InvalidSettings, Later, Stop
from edgeferry.runtime.tls import AUTHORITY_NAME

_PREFIX = "sha256:"
_HANDSHAKE_SECONDS = 10.0


class Unreachable(Later):
    """Nothing answers at the address."""


class Untrusted(Stop):
    """The server is not the one that is trusted, or cannot be; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Trust:
    """root: PEM, None for the authorities that everybody trusts. server_name: the name that
    the certificate must bear, empty for the host that is dialled."""

    root: bytes | None
    server_name: str = ""


def split_address(address: str, default_port: int | None = None) -> tuple[str, int]:
    """Host and port of ``host:port``, ``[v6]:port``. Raises InvalidSettings."""
    host, colon, port = address.rpartition(":")
    if not colon and default_port is not None:
        host, port = address, str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidSettings(f"{address!r}: write an IPv6 address as [address]:port")
    if not host or not (port.isdecimal() and len(port) <= 5) or not 0 < int(port) < 65536:
        raise InvalidSettings(
            f"{address!r} is no address: give host:port, such as cloud.example:7070"
        )
    return host, int(port)


def parsed_fingerprint(text: str) -> str:
    """``sha256:<64 hex digits>``; also as openssl prints it. Raises InvalidSettings."""
    digits = re.sub(r"^sha256(:| fingerprint=)|[:\s]", "", text.strip().lower())
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise InvalidSettings(
            f"{text!r} is no fingerprint: give {_PREFIX} and 64 hex digits, as the Cloud prints it"
        )
    return _PREFIX + digits


def fingerprint(certificate: x509.Certificate) -> str:
    return _PREFIX + hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def fingerprint_to_pin(chain_file: Path) -> str:
    """Of a server's PEM chain: that of a private authority at its end, as it outlives the
    server's certificate; else that of the server's certificate.

    Raises InvalidSettings."""
    try:
        chain = x509.load_pem_x509_certificates(chain_file.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{chain_file} is no certificate in PEM: {error}") from error
    top = chain[-1]
    return fingerprint(top if top.issuer == top.subject else chain[0])


async def presented_chain(host: str, port: int) -> list[x509.Certificate]:
    """What a TLS server presents, its own certificate first; nothing of it is verified.

    Raises Unreachable; Untrusted when what answers is no gRPC server with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    at = f"{host}:{port}"
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            plain = await _connected(host, port)
    except socket.gaierror as error:
        raise Unreachable(f"there is no host {host!r} ({error.strerror})") from error
    except TimeoutError as error:
        raise Unreachable(f"{at} does not answer within {_HANDSHAKE_SECONDS:.0f} s") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise Unreachable(f"{at} does not answer ({reason})") from error
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            _, writer = await asyncio.open_connection(sock=plain, ssl=context, server_hostname=host)
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":
            raise ssl.SSLError("no HTTP/2")
        return _chain(tls)
    except (OSError, TimeoutError) as error:
        raise Untrusted(
            f"what answers at {at} is not the sync port of an Edgeferry Cloud (it speaks no TLS "
            "with HTTP/2): the Cloud prints the address for Edges"
        ) from error
    finally:
        if writer is not None:
            writer.transport.abort()
        plain.close()


async def _connected(host: str, port: int) -> socket.socket:
    """Each address of the host in turn. Raises OSError."""
    loop = asyncio.get_running_loop()
    failed: OSError = OSError("no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        connecting = socket.socket(family, kind, protocol)
        connecting.setblocking(False)
        try:
            await loop.sock_connect(connecting, address)
        except OSError as error:
            connecting.close()
            failed = error
        except BaseException:
            connecting.close()
            raise
        else:
            return connecting
    raise failed


def _chain(tls: ssl.SSLObject) -> list[x509.Certificate]:
    # public from Python 3.13 on; before it stands at the object inside
    inner = getattr(tls, "get_unverified_chain", None)
    if inner is not None:
        ders: Sequence[bytes] = inner()
    else:
        encoding_der = 2
        inside = getattr(tls, "_sslobj")  # noqa: B009
        ders = [each.public_bytes(encoding_der) for each in inside.get_unverified_chain()]
    return [x509.load_der_x509_certificate(der) for der in ders]


def pinned(chain: Sequence[x509.Certificate], wanted: str, host: str, now_ms: int) -> Trust:
    """What to trust so that the server which presents ``chain`` is the one of the
    fingerprint ``wanted``, and no other. Raises Untrusted.

    Above a certificate of its own the name it bears does not matter. An authority may have
    given certificates to others too, so its server must bear the name that is dialled; except
    our development authority, which is one Cloud's own."""
    server = chain[0]
    found = next((each for each in chain if fingerprint(each) == wanted), None)
    if found is None:
        raise Untrusted(
            f"the certificate at {host} has the fingerprint {fingerprint(chain[-1])}, not "
            f"{wanted}: another Cloud, or someone in between; compare with what the Cloud prints"
        )
    check_dates(chain, host, now_ms)
    root = found.public_bytes(Encoding.PEM)
    names = _names(server)
    own = found is server or found.subject.rfc4514_string() == f"CN={AUTHORITY_NAME}"
    if host in names or (not own and not names):
        return Trust(root)
    if not own:
        raise Untrusted(
            f"the certificate at {host} is for {', '.join(names)}: dial one of these names, or "
            "trust the fingerprint of the server's own certificate"
        )
    return Trust(root, next((name for name in names if not _is_ip(name)), ""))


def check_dates(chain: Sequence[x509.Certificate], host: str, now_ms: int) -> None:
    """Raises Untrusted when the certificate is not good now."""
    now = datetime.datetime.fromtimestamp(now_ms / 1000, datetime.UTC)
    server = chain[0]
    if server.not_valid_after_utc < now:
        raise Untrusted(
            f"the certificate at {host} has expired on {server.not_valid_after_utc:%Y-%m-%d}: "
            "give the Cloud a new one (a restart of `edgeferry cloud` renews its own)"
        )
    if server.not_valid_before_utc > now:
        raise Untrusted(
            f"the certificate at {host} is not good before {server.not_valid_before_utc:%Y-%m-%d}: "
            f"this machine's clock says {now:%Y-%m-%d}"
        )


def _names(certificate: x509.Certificate) -> list[str]:
    with suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [
            *names.get_values_for_type(x509.DNSName),
            *(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        ]
    return []


def _is_ip(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False
