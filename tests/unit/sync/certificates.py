"""Certificates of tests: one of its own, or one below an authority."""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edgeferry.runtime.tls_pins import fingerprint


@dataclass(frozen=True)
class Chain:
    """certificates: the server's first; fingerprint: the server's own."""

    certificates: list[x509.Certificate]
    pem: bytes
    key_pem: bytes
    fingerprint: str


def make_chain(
    names: tuple[str, ...] = ("server.example",),
    *,
    authority: str = "",
    days: tuple[int, int] = (-1, 10),
) -> Chain:
    """authority: the name of the one above, which is presented too; empty for none.
    days: from when to when it is good, counted from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    above = ec.generate_private_key(ec.SECP256R1()) if authority else key
    issuer = authority or "server"
    certificates = [_certificate("server", issuer, key, above, names, days)]
    if authority:
        certificates.append(_certificate(authority, authority, above, above, (), days))
    encoded = [each.public_bytes(serialization.Encoding.PEM) for each in certificates]
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Chain(certificates, b"".join(encoded), key_pem, fingerprint(certificates[0]))


def _certificate(
    name: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    names: tuple[str, ...],
    days: tuple[int, int],
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        made = made.add_extension(alternatives, critical=False)
    return made.sign(signer, hashes.SHA256())
