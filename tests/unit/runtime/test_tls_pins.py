"""Trust by fingerprint: which certificate, which name."""

from pathlib import Path

import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.tls import AUTHORITY_NAME, ensure_dev_authority
from edgeferry.runtime.tls_pins import (
    Untrusted,
    fingerprint,
    fingerprint_to_pin,
    parsed_fingerprint,
    pinned,
    split_address,
)
from tests.unit.sync.certificates import make_chain

NOW_MS = SystemClock().now_ms()
DAY_MS = 86_400_000
HOST = "cloud.example"


def test_a_certificate_of_its_own_is_trusted_under_whatever_name_it_bears() -> None:
    chain = make_chain(("elsewhere.example",))
    trust = pinned(chain.certificates, chain.fingerprint, HOST, NOW_MS)
    assert trust.root == chain.pem
    assert trust.server_name == "elsewhere.example"


def test_the_name_that_is_dialled_stays_when_the_certificate_bears_it() -> None:
    chain = make_chain((HOST,))
    assert pinned(chain.certificates, chain.fingerprint, HOST, NOW_MS).server_name == ""


def test_below_an_authority_the_certificate_must_bear_the_name_that_is_dialled() -> None:
    chain = make_chain(("elsewhere.example",), authority="A company")
    authority = fingerprint(chain.certificates[1])
    with pytest.raises(Untrusted, match=r"is for elsewhere\.example"):
        pinned(chain.certificates, authority, HOST, NOW_MS)
    fine = make_chain((HOST,), authority="A company")
    assert pinned(fine.certificates, fingerprint(fine.certificates[1]), HOST, NOW_MS).root


def test_our_development_authority_is_one_clouds_own() -> None:
    chain = make_chain(("localhost",), authority=AUTHORITY_NAME)
    authority = fingerprint(chain.certificates[1])
    trust = pinned(chain.certificates, authority, HOST, NOW_MS)
    assert trust.server_name == "localhost"


def test_another_fingerprint_is_not_trusted() -> None:
    chain, other = make_chain(), make_chain()
    with pytest.raises(Untrusted, match="another Cloud, or someone in between"):
        pinned(chain.certificates, other.fingerprint, HOST, NOW_MS)


@pytest.mark.parametrize(("days", "said"), [(20, "has expired on"), (-20, "is not good before")])
def test_a_certificate_that_is_not_good_now_is_not_trusted(days: int, said: str) -> None:
    chain = make_chain()
    with pytest.raises(Untrusted, match=said):
        pinned(chain.certificates, chain.fingerprint, HOST, NOW_MS + days * DAY_MS)


def test_the_fingerprint_of_a_cloud_outlives_its_certificate(tmp_path: Path) -> None:
    first = ensure_dev_authority(tmp_path, SystemClock()).cert
    before = fingerprint_to_pin(first)
    first.unlink()
    again = ensure_dev_authority(tmp_path, SystemClock(), ["cloud.example", "10.0.0.7"]).cert
    assert fingerprint_to_pin(again) == before


def test_of_a_chain_without_its_authority_the_servers_own_is_pinned(tmp_path: Path) -> None:
    chain = make_chain(authority="A company")
    file = tmp_path / "chain.pem"
    file.write_bytes(chain.pem[: chain.pem.rindex(b"-----BEGIN")])
    assert fingerprint_to_pin(file) == chain.fingerprint


@pytest.mark.parametrize(
    "written", ["{}", "sha256:{}", "SHA256 Fingerprint={}", "  sha256:{}\n", "{colons}"]
)
def test_a_fingerprint_is_read_as_people_have_it(written: str) -> None:
    digits = "0123456789abcdef" * 4
    colons = ":".join(digits[at : at + 2] for at in range(0, 64, 2)).upper()
    assert parsed_fingerprint(written.format(digits, colons=colons)) == f"sha256:{digits}"


@pytest.mark.parametrize("written", ["", "sha256:", "sha256:12", "md5:" + "0" * 64, "g" * 64])
def test_what_is_no_fingerprint_is_refused(written: str) -> None:
    with pytest.raises(InvalidSettings, match="is no fingerprint: give sha256:"):
        parsed_fingerprint(written)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("a.example:7070", ("a.example", 7070)),
        ("[::1]:1", ("::1", 1)),
        ("1.2.3.4:9", ("1.2.3.4", 9)),
    ],
)
def test_an_address_is_host_and_port(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


@pytest.mark.parametrize("address", ["", "host", "host:", ":70", "host:x", "::1:7070", "h:70000"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidSettings, match=r"address|host:port"):
        split_address(address)
