"""Devices that ask for credentials: what they may ask, who gets what, and the answers
(semantics of the field, 7.2 and 7.3).

    {"provisionDeviceKey": "...", "provisionDeviceSecret": "...", "deviceName": "pump-1",
     "credentialsType": "MQTT_BASIC", "clientId": "...", "username": "...", "password": "..."}

All but key and secret may be left out. Of other types: ``token`` (ACCESS_TOKEN) or ``hash``, the
certificate (X509_CERTIFICATE). ``"gateway": true`` asks for a device that is a gateway.
"""

import json
import logging
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from edgeferry.core.clock import Clock
from edgeferry.core.credentials import CredentialsType, access_token, completed
from edgeferry.core.errors import InvalidPayload, Later, Never
from edgeferry.gateway.devices import Device
from edgeferry.gateway.look_up_brake import LookUpBrake
from edgeferry.gateway.provision_profiles import ProvisionProfile, ProvisionProfiles, Strategy
from edgeferry.gateway.rates import Rates, Unlimited

PROVISION_SUCCESS: Final = "PROVISION_SUCCESS"
PROVISION_FAILURE: Final = "PROVISION_FAILURE"
"""Messages for the root chain."""
NO_PROVISIONING: Final = (
    "Provision data was not found! This site gives no credentials to devices that ask for some: "
    "its setting provisioning_file is empty"
)
_LONGEST: Final = 255
_MADE_AT_ONCE: Final = 1_000
_MADE_PER_SECOND: Final = 10.0
"""New devices of one profile."""

log = logging.getLogger(__name__)
Body = dict[str, str | None]
"""Of credentials, see ``core.credentials``."""


class Status(StrEnum):
    SUCCESS = "SUCCESS"
    NOT_FOUND = "NOT_FOUND"
    FAILURE = "FAILURE"


class NotProvisioned(Never):
    """Whoever asked gets nothing; the text says why. device: what it asked for, which is there
    and not to be had."""

    def __init__(self, status: Status, text: str, device: Device | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.device = device


class TooManyMade(Later):
    """So many devices of this profile were made lately: try again later."""


class Wish(NamedTuple):
    """``name`` may be empty, ``credentials`` None: both are made then."""

    key: str
    secret: str
    name: str = ""
    credentials: Body | None = None
    gateway: bool = False


class Provisioned(NamedTuple):
    device: Device
    credentials: Body


class Provisioner(Protocol):
    """Who gets a device, and makes it."""

    async def provision(self, wish: Wish, address: str) -> Provisioned:
        """``address``: of the client. Raises NotProvisioned, Later."""
        ...


class Maker(Protocol):
    async def create(self, profile: str, wish: Wish) -> Provisioned:
        """A new one. Raises NotProvisioned, Later."""
        ...

    async def check(self, profile: str, name: str) -> Provisioned:
        """One that is there. Raises NotProvisioned, Later."""
        ...


class Provisioning:
    """``Provisioner``. Whoever tries keys is held back like clients that nobody knows."""

    def __init__(self, *, profiles: ProvisionProfiles, maker: Maker, clock: Clock) -> None:
        self._profiles = profiles
        self._maker = maker
        self._monotonic = clock.monotonic
        self._brake = LookUpBrake(clock)
        limits = Unlimited(device_rate=_MADE_PER_SECOND, device_burst=_MADE_AT_ONCE)
        self._pace = Rates(limits, clock.monotonic())

    async def provision(self, wish: Wish, address: str) -> Provisioned:
        """Raises NotProvisioned, Later."""
        self._brake.check(address)
        profile = self._profiles.find(wish.key, wish.secret)
        if profile is None:
            self._brake.failed(address)
            log.info("a client at %s shows an unknown provisioning key or secret", address)
            raise NotProvisioned(Status.NOT_FOUND, "Provision data was not found!")
        if profile.strategy is Strategy.CHECK:
            return await self._maker.check(profile.profile, wish.name)
        self._keep_pace(profile)
        return await self._maker.create(profile.profile, wish)

    def _keep_pace(self, profile: ProvisionProfile) -> None:
        """Raises TooManyMade."""
        now = self._monotonic()
        if self._pace.wait(profile.profile, now):
            raise TooManyMade(
                f"more than {_MADE_PER_SECOND:g} devices a second of profile {profile.profile!r} "
                "are asked for: try again later"
            )
        self._pace.take(profile.profile, 0)


def wish_of(body: object) -> Wish:
    """Raises InvalidPayload."""
    if not isinstance(body, dict):
        raise InvalidPayload(
            "an object with provisionDeviceKey and provisionDeviceSecret is wanted"
        )
    gateway = body.get("gateway")
    if gateway is not None and not isinstance(gateway, bool):
        raise InvalidPayload("gateway: true or false is wanted")
    return Wish(
        key=_text(body, "provisionDeviceKey", wanted=True),
        secret=_text(body, "provisionDeviceSecret", wanted=True),
        name=_name(body),
        credentials=_credentials(body),
        gateway=gateway is True,
    )


def granted(found: Provisioned) -> dict[str, Any]:
    """The answer to a client that gets a device."""
    type_, value = found.credentials["credentialsType"], found.credentials["credentialsValue"]
    shown: object = value
    if type_ == CredentialsType.ACCESS_TOKEN:
        shown = found.credentials["credentialsId"]
    elif type_ == CredentialsType.MQTT_BASIC:
        shown = json.loads(value or "{}")
    return {"credentialsValue": shown, "credentialsType": type_, "status": Status.SUCCESS}


def denied(status: Status, text: str) -> dict[str, Any]:
    """The answer to one that gets none."""
    return {"errorMsg": text, "status": status}


def _name(body: dict[str, Any]) -> str:
    given = _text(body, "deviceName")
    name = given.strip()
    if given and (not name or not name.isprintable()):
        raise InvalidPayload(f"deviceName: a device cannot be named {given[:60]!r}")
    return name


def _credentials(body: dict[str, Any]) -> Body | None:
    type_ = _text(body, "credentialsType") or CredentialsType.ACCESS_TOKEN
    match type_:
        case CredentialsType.ACCESS_TOKEN:
            token = _text(body, "token")
            return access_token(token) if token else None
        case CredentialsType.MQTT_BASIC:
            fields = {"clientId": "clientId", "userName": "username", "password": "password"}
            value: object = json.dumps({name: _text(body, at) for name, at in fields.items()})
        case _:
            value = body.get("hash")
    return completed({"credentialsType": type_, "credentialsValue": value})


def _text(body: dict[str, Any], name: str, *, wanted: bool = False) -> str:
    value = body.get(name)
    if value is None and not wanted:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST or (wanted and not value):
        raise InvalidPayload(f"{name}: a text of at most {_LONGEST} characters is wanted")
    return value
