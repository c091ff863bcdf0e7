import base64
import hashlib
import json

import pytest

from edgeferry.core.credentials import (
    BasicMqtt,
    basic_id,
    basic_of,
    certificate_id,
    completed,
    is_token,
)
from edgeferry.core.errors import InvalidPayload

DER = b"\x30\x82" + bytes(range(200))
PLAIN = base64.b64encode(DER).decode()
PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n".format(
    "\r\n".join(PLAIN[at : at + 64] for at in range(0, len(PLAIN), 64))
)


def basic(**fields: object) -> dict[str, object]:
    return {"credentialsType": "MQTT_BASIC", "credentialsValue": json.dumps(fields)}


def certificate(text: object) -> dict[str, object]:
    return {"credentialsType": "X509_CERTIFICATE", "credentialsValue": text}


def sha3(text: str) -> str:
    return hashlib.sha3_256(text.encode()).hexdigest()


def test_an_access_token_is_its_own_id() -> None:
    wish = {"credentialsType": "ACCESS_TOKEN", "credentialsId": "abc", "other": 1}
    assert completed(wish) == {
        "credentialsType": "ACCESS_TOKEN",
        "credentialsId": "abc",
        "credentialsValue": None,
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"userName": "factory"}, "factory"),
        ({"userName": "factory", "password": "p"}, "factory"),
        ({"clientId": "pump"}, sha3("pump")),
        ({"clientId": "pump", "userName": "factory", "password": "p"}, sha3("pump|factory")),
        ({"clientId": "", "userName": "factory", "password": None}, "factory"),
    ],
)
def test_basic_credentials_are_found_by_client_id_and_user_name(
    fields: dict[str, object], expected: str
) -> None:
    kept = completed(basic(**fields) | {"credentialsId": "what somebody claims"})
    assert kept["credentialsId"] == expected
    wanted = BasicMqtt(*(fields.get(name) or "" for name in ("clientId", "userName", "password")))  # type: ignore[arg-type]
    assert basic_of(kept["credentialsValue"]) == wanted
    assert basic_id(wanted.client_id, wanted.user_name) == expected
    assert completed(kept) == kept


@pytest.mark.parametrize("text", [PEM, PLAIN, f"  {PLAIN}\n"])
def test_a_certificate_is_found_by_the_hash_of_its_text_on_one_line(text: str) -> None:
    kept = completed(certificate(text))
    assert kept["credentialsId"] == certificate_id(DER) == sha3(PLAIN)
    assert kept["credentialsValue"] == PLAIN


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"credentialsType": "LWM2M_CREDENTIALS"},
        {"credentialsType": "ACCESS_TOKEN"},
        {"credentialsType": "ACCESS_TOKEN", "credentialsId": ""},
        {"credentialsType": "ACCESS_TOKEN", "credentialsId": "a b"},
        {"credentialsType": "ACCESS_TOKEN", "credentialsId": "a" * 129},
        {"credentialsType": "MQTT_BASIC"},
        {"credentialsType": "MQTT_BASIC", "credentialsValue": "{"},
        {"credentialsType": "MQTT_BASIC", "credentialsValue": {"clientId": "a"}},
        basic(),
        basic(password="p"),
        basic(clientId="a", password="p"),
        basic(clientId=7),
        basic(clientId="a" * 256),
        basic(clientId="a\0"),
        basic(userName="\ud800"),
        certificate(None),
        certificate("no certificate"),
        certificate(base64.b64encode(b"text").decode()),
        certificate(PEM + PEM),
        certificate("MII" * 6_000),
    ],
)
def test_what_are_no_credentials_is_refused_with_the_field(wish: dict[str, object]) -> None:
    with pytest.raises(InvalidPayload, match=r"^(credentials|an access token)"):
        completed(wish)


def test_a_token_can_stand_in_a_path() -> None:
    assert is_token("a-Z_0.9")
    assert not any(is_token(text) for text in ("", "a/b", "ä", "a b", "a" * 129))
