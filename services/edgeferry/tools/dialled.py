"""How Edges reach a Cloud: the address they dial, the fingerprint they trust."""

import shlex
import socket
import ssl
import warnings
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import SyncSettings
from edgeferry.runtime.tls_pins import fingerprint_to_pin, split_address

_ANYWHERE = ("0.0.0.0", "::", "")


class Enrolment(NamedTuple):
    """All that an Edge needs to join; fingerprint is empty where none is needed."""

    cloud: str
    key: str
    secret: str
    fingerprint: str = ""

    def command(self) -> str:
        options = [
            f"--{name} {shlex.quote(value)}" for name, value in self._asdict().items() if value
        ]
        return " ".join(["edgeferry edge", *options])

    def new_secret_command(self) -> str:
        """For one that has joined."""
        return f"edgeferry edge --secret {shlex.quote(self.secret)} --enrol-only"


def dialled(sync: SyncSettings) -> str:
    """host:port."""
    if sync.address:
        return sync.address
    port = sync.listen.port
    host = socket.gethostname() if sync.listen.host in _ANYWHERE else sync.listen.host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def pinned_fingerprint(sync: SyncSettings) -> str:
    """What an Edge is to be given; empty when everybody trusts the certificate, which may
    then be renewed as often as its authority likes. Raises InvalidSettings."""
    if sync.cert_file is None:
        raise InvalidSettings("sync.cert_file: name the Cloud's certificate chain (PEM)")
    fingerprint = fingerprint_to_pin(sync.cert_file)
    chain = x509.load_pem_x509_certificates(sync.cert_file.read_bytes())
    host, _ = split_address(dialled(sync))
    return "" if _everybody_trusts(chain, host) else fingerprint


def _everybody_trusts(chain: list[x509.Certificate], host: str) -> bool:
    anchors = ssl.create_default_context().get_ca_certs(binary_form=True)
    top = chain[-1]
    if top.issuer == top.subject and top.public_bytes(Encoding.DER) not in anchors:
        return False  # a private authority, or a certificate of its own
    try:
        with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
            store = Store([x509.load_der_x509_certificate(anchor) for anchor in anchors])
        verifier = PolicyBuilder().store(store).build_server_verifier(x509.DNSName(host))
        verifier.verify(chain[0], chain[1:])
    except (VerificationError, ValueError):
        return False
    return True
