"""Who a client says it is, and whom credentials let in (semantics of the field, 7.3)."""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from edgeferry.core.credentials import BasicMqtt, CredentialsType, basic_id
from edgeferry.gateway.devices import Device

NEWCOMER: Final = "provision"
"""The user name of a client that asks for credentials, or its client id where it has none."""
_ANY: Final = BasicMqtt()


class Login(NamedTuple):
    """What a client shows. certificate: the id of the one it proved to own at TLS; then
    nothing else counts. token_only: of MQTT it knows nothing."""

    user_name: str = ""
    password: bytes = b""
    client_id: str = ""
    certificate: str = ""
    token_only: bool = False

    @property
    def is_newcomer(self) -> bool:
        """It has no credentials and asks for some."""
        named = self.user_name or self.client_id
        return named == NEWCOMER and not (self.certificate or self.token_only)

    def ids(self) -> Iterator[str]:
        """Of the credentials that may let it in. The user name comes first: of a client that
        has an access token nothing else has to be looked up, whatever it calls itself."""
        if self.certificate:
            yield self.certificate
            return
        if self.user_name:
            yield self.user_name
        if self.client_id and not self.token_only:
            yield basic_id(self.client_id, self.user_name)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A device, and what lets a client in as it."""

    device: Device
    type: CredentialsType
    basic: BasicMqtt = _ANY

    def lets_in(self, login: Login) -> bool:
        """Its id is one of the login's."""
        match self.type:
            case CredentialsType.ACCESS_TOKEN:
                return not login.certificate and login.user_name == self.device.token
            case CredentialsType.X509_CERTIFICATE:
                return login.certificate == self.device.token
            case CredentialsType.MQTT_BASIC:
                return not (login.certificate or login.token_only) and self._fits(login)

    def _fits(self, login: Login) -> bool:
        wanted = self.basic
        return (
            (not wanted.client_id or wanted.client_id == login.client_id)
            and (not wanted.user_name or wanted.user_name == login.user_name)
            and (
                not wanted.password or hmac.compare_digest(wanted.password.encode(), login.password)
            )
        )
