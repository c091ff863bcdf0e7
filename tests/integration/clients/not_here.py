"""Why a device endpoint answers some of a broker's cases otherwise, and rightly so."""

import re
from collections.abc import Callable, Sequence
from typing import Final

from tests.integration.clients import device_packets as wire
from tests.integration.clients.sequences import Case

Rule = Callable[[Case, str], bool]
_OF_QOS_2: Final = (wire.PUBREC, wire.PUBREL, wire.PUBCOMP)
_MALFORMED_OR_PROTOCOL_ERROR: Final = re.compile(r"wanted (14 |2 00)8[12], got (14 |2 00)8[12]")


def why_not(case: Case, what: str) -> str | None:
    """None where there is no good reason. ``what``: what was done otherwise."""
    return next((reason for reason, applies in _RULES if applies(case, what)), None)


def _named(*parts: str) -> Rule:
    return lambda case, _: any(part in case.name for part in parts)


def _of_qos_2(case: Case, what: str) -> bool:
    packets = [step.packet[:1] for step in case.steps if step.packet]
    firsts = [packet[0] for packet in packets]
    return any(
        first >> 4 in _OF_QOS_2 or (first >> 4 == wire.PUBLISH and first & 0x04) for first in firsts
    ) or any(step.qos == 2 for step in case.steps)


def _granted_1(case: Case, what: str) -> bool:
    return re.fullmatch(r"wanted 9 (\w+) 02, got 9 \1 01", what) is not None


def _routed(case: Case, what: str) -> bool:
    """The client is to receive what a client has published."""
    return any(s.kind == "recv" and s.packet[0] >> 4 == wire.PUBLISH for s in case.steps)


def _foreign(case: Case, what: str) -> bool:
    """The filter of a subscription, or what it should be granted."""
    return any(b"$share" in s.packet or b"#" in s.packet for s in case.steps) or (
        re.fullmatch(r"wanted 9 (\w+) 0[01], got 9 \1 (80|8f)", what) is not None
    )


def _subscription_identifier(case: Case, what: str) -> bool:
    return "subscription-identifier" in case.name and what.endswith("got 14 a1")


def _own_user(case: Case, what: str) -> bool:
    """The case connects as a user that its broker lets in: not with a device's token."""
    return "wanted 2 0000" in what and ("sername" in case.name or "assword" in case.name)


_RULES: Final[Sequence[tuple[str, Rule]]] = (
    ("QoS 2 is not served, which is announced at CONNECT", _of_qos_2),
    ("QoS 1 is granted where QoS 2 is asked for", _granted_1),
    ("publishes of devices go to the rule chain, not to subscribers", _routed),
    ("filters of others than the device and shared subscriptions are refused", _foreign),
    ("subscription identifiers are not served, which is announced", _subscription_identifier),
    ("the user name has to be a device's token", _own_user),
    (
        "refused with the other of 0x81 and 0x82 (2.2.2.2, 3.3.2.1, or left open)",
        lambda case, what: _MALFORMED_OR_PROTOCOL_ERROR.fullmatch(what) is not None,
    ),
    (
        "control characters in text may be refused, need not be (1.5.4)",
        _named("U+0001", "U+001F", "U+007F", "U+009F"),
    ),
    (
        "text that is not UTF-8 or holds U+0000 is malformed (1.5.4), 0x81",
        lambda case, what: what == "wanted 2 0085, got 2 0081",
    ),
    (
        "unknown versions are refused with the code 1 of 3.1.1",
        lambda case, what: what == "wanted 2 0084, got 2 0001",
    ),
    (
        "clients of MQTT 3.1 are taken by the rules of 3.1.1",
        lambda case, _: case.version == 3,
    ),
    ("16 topic aliases are announced, not 10", _named("topic alias > max topic alias")),
    ("a packet of a forbidden type is refused when its length has come", _named("0A with illegal")),
)
