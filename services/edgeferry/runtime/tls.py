"""A certificate authority for development, made at first start. Never for a real site."""

import datetime
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgeferry.core.clock import Clock
from edgeferry.files.whole import write_whole

AUTHORITY_NAME = "Edgeferry development authority"

_CA_DAYS = 3650
_SERVER_DAYS = 820
_RENEW_DAYS = 30
_BACKDATED = datetime.timedelta(days=1)  # for peers whose clock is behind


@dataclass(frozen=True, slots=True)
class TlsPaths:
    """PEM files: what clients trust, and the server's chain and private key."""

    ca: Path
    cert: Path
    key: Path


def ensure_dev_authority(directory: Path, clock: Clock, names: Sequence[str] = ()) -> TlsPaths:
    """Make the authority and a server certificate for this machine where they are
    missing; a certificate near its end, or for other names, is made anew. names: further
    host names or addresses under which the server is dialled.

    The server presents the authority too, so that clients can know it by its fingerprint.
    The authority's key stays in the folder (mode 0600), so that a new server certificate
    is trusted by whoever trusted the last."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = TlsPaths(directory / "ca.pem", directory / "server.pem", directory / "server-key.pem")
    ca_key_path = directory / "ca-key.pem"
    now = datetime.datetime.fromtimestamp(clock.now_ms() / 1000, datetime.UTC)
    if paths.ca.exists() and ca_key_path.exists():
        ca = x509.load_pem_x509_certificate(paths.ca.read_bytes())
        ca_key = _load_key(ca_key_path)
    else:
        ca, ca_key = _make_ca(now)
        write_whole(ca_key_path, _key_pem(ca_key), 0o600)
        write_whole(paths.ca, _pem(ca), 0o644)
        paths.cert.unlink(missing_ok=True)
    wanted = _alternatives(["localhost", socket.gethostname(), "127.0.0.1", "::1", *names])
    if not (paths.key.exists() and _still_good(paths.cert, wanted, now)):
        key = ec.generate_private_key(ec.SECP256R1())
        cert = _make_server(wanted, key, ca, ca_key, now)
        write_whole(paths.key, _key_pem(key), 0o600)
        write_whole(paths.cert, _pem(cert) + _pem(ca), 0o644)
    return paths


def _make_ca(
    now: datetime.datetime,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY_NAME)])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    cert = (
        _builder(name, name, key, now, _CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return cert, key


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _make_server(
    alternatives: Sequence[x509.GeneralName],
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgeferry")])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        _builder(subject, ca.subject, key, now, _SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _still_good(path: Path, wanted: Sequence[x509.GeneralName], now: datetime.datetime) -> bool:
    if not path.exists():
        return False
    cert, *above = x509.load_pem_x509_certificates(path.read_bytes())
    if not above or cert.not_valid_after_utc - now < datetime.timedelta(days=_RENEW_DAYS):
        return False
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(wanted) <= set(names)


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path}: not an elliptic-curve key; remove the folder to make it anew")
    return key


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
