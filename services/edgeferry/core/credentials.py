"""Credentials of devices as the field knows them: their types, and the id that each is found by.

    {"credentialsType": "ACCESS_TOKEN", "credentialsId": "t0ken", "credentialsValue": null}
    {"credentialsType": "MQTT_BASIC", "credentialsId": "...",
     "credentialsValue": "{\\"clientId\\": ..., \\"userName\\": ..., \\"password\\": ...}"}
    {"credentialsType": "X509_CERTIFICATE", "credentialsId": "...", "credentialsValue": "MIIB..."}

The ids are ThingsBoard's: of MQTT_BASIC the user name alone, else the SHA3-256 of the client id
or of ``clientId|userName``; of a certificate the SHA3-256 of its base64 text without line ends.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from edgeferry.core.errors import InvalidPayload

MAX_TOKEN_LENGTH: Final = 128
MAX_NAME_LENGTH: Final = 255
"""Of client id, user name and password."""

_MAX_CERTIFICATE: Final = 16_384
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_BASIC_FIELDS: Final = ("clientId", "userName", "password")
_SEQUENCE: Final = b"\x30"


class CredentialsType(StrEnum):
    ACCESS_TOKEN = "ACCESS_TOKEN"
    MQTT_BASIC = "MQTT_BASIC"
    X509_CERTIFICATE = "X509_CERTIFICATE"


class BasicMqtt(NamedTuple):
    """What a client has to say at CONNECT; what is empty may be anything."""

    client_id: str = ""
    user_name: str = ""
    password: str = ""


def access_token(token: str) -> dict[str, str | None]:
    """The body of credentials. Raises InvalidPayload for what is none."""
    if not is_token(token):
        raise InvalidPayload(
            f"an access token has 1 to {MAX_TOKEN_LENGTH} printable characters without spaces "
            "and '/'"
        )
    return _body(CredentialsType.ACCESS_TOKEN, token, None)


def is_token(text: str) -> bool:
    plain = text.isascii() and text.isprintable() and " " not in text and "/" not in text
    return plain and 0 < len(text) <= MAX_TOKEN_LENGTH


def completed(body: Mapping[str, object]) -> dict[str, str | None]:
    """The body as it is kept, with the id that follows from its value. Raises InvalidPayload,
    whose text is for who sent it."""
    type_, value = body.get("credentialsType"), body.get("credentialsValue")
    match type_:
        case CredentialsType.ACCESS_TOKEN:
            token = body.get("credentialsId")
            if not isinstance(token, str):
                raise InvalidPayload("credentialsId: the access token is wanted")
            return access_token(token)
        case CredentialsType.MQTT_BASIC:
            return _basic_body(_wanted_basic(value))
        case CredentialsType.X509_CERTIFICATE:
            return _certificate_body(value)
    raise InvalidPayload(f"credentialsType: one of {', '.join(CredentialsType)} is wanted")


def basic_of(value: object) -> BasicMqtt | None:
    """Of a ``credentialsValue`` (JSON text); None where it is none."""
    try:
        fields = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    texts = [fields.get(name) or "" for name in _BASIC_FIELDS]
    return BasicMqtt(*texts) if all(isinstance(text, str) for text in texts) else None


def basic_id(client_id: str, user_name: str) -> str:
    """Of MQTT_BASIC credentials; not both are empty."""
    if not client_id:
        return user_name
    return _sha3(f"{client_id}|{user_name}" if user_name else client_id)


def certificate_id(der: bytes) -> str:
    """Of X509_CERTIFICATE credentials."""
    return _sha3(base64.b64encode(der).decode())


def _wanted_basic(value: object) -> BasicMqtt:
    """Raises InvalidPayload."""
    basic = basic_of(value)
    if basic is None:
        raise InvalidPayload(
            'credentialsValue: the text of {"clientId", "userName", "password"} is wanted, each a '
            "text or left out"
        )
    if not basic.client_id and not basic.user_name:
        raise InvalidPayload("credentialsValue: a clientId, a userName or both are wanted")
    if basic.client_id and basic.password and not basic.user_name:
        raise InvalidPayload("credentialsValue: a password goes with a userName")
    for name, text in zip(_BASIC_FIELDS, basic, strict=True):
        if len(text) > MAX_NAME_LENGTH or not _is_mqtt_text(text):
            raise InvalidPayload(
                f"credentialsValue: {name} has at most {MAX_NAME_LENGTH} characters, none of "
                "them zero or a half one"
            )
    return basic


def _is_mqtt_text(text: str) -> bool:
    return "\0" not in text and text.encode(errors="ignore").decode() == text


def _basic_body(basic: BasicMqtt) -> dict[str, str | None]:
    fields = {name: text or None for name, text in zip(_BASIC_FIELDS, basic, strict=True)}
    id_ = basic_id(basic.client_id, basic.user_name)
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return _body(CredentialsType.MQTT_BASIC, id_, text)


def _certificate_body(value: object) -> dict[str, str | None]:
    """Raises InvalidPayload."""
    text = value if isinstance(value, str) and len(value) <= _MAX_CERTIFICATE else ""
    plain = "".join(text.replace(_BEGIN, "", 1).replace(_END, "", 1).split())
    try:
        der = base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if not der.startswith(_SEQUENCE):
        raise InvalidPayload(
            "credentialsValue: one certificate is wanted, as PEM or the base64 text of it"
        )
    kept = base64.b64encode(der).decode()
    return _body(CredentialsType.X509_CERTIFICATE, _sha3(kept), kept)


def _body(type_: CredentialsType, id_: str, value: str | None) -> dict[str, str | None]:
    return {
        "credentialsType": type_.value,
        "credentialsId": id_,
        "credentialsValue": value,
    }


def _sha3(text: str) -> str:
    return hashlib.sha3_256(text.encode(errors="surrogatepass")).hexdigest()
