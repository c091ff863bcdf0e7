"""Packet sequences that mosquitto's authors wrote for brokers: how their files are read.

A file holds groups of cases; a case is what a client sends and what it has to be answered,
packets written as words: ``10 r13 s4 'MQTT' 04 02 k10 s1 'p'``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_TWO_BYTES: Final = "Hkms"
_VARIABLE: Final = "vr"


@dataclass(frozen=True)
class Step:
    """``kind``: send, recv, external_publish (another client publishes), subscribe or
    unsubscribe (of which the answer is not looked at)."""

    kind: str
    packet: bytes = b""
    topic: str = ""
    payload: str = ""
    qos: int = 0


@dataclass(frozen=True)
class Case:
    """``connects``: the client connects before the first step. ``ends``: the server has to
    close the connection after the last one, else it has to answer a ping."""

    group: str
    name: str
    version: int
    connects: bool
    ends: bool
    steps: Sequence[Step]

    @property
    def title(self) -> str:
        return f"{self.group} | {self.name}"


def read_cases(folder: Path) -> list[Case]:
    """Raises FileNotFoundError when there are none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"no sequences in {folder}")
    groups = [group for file in files for group in json.loads(file.read_text())]
    return [
        _case(group, case)
        for group in groups
        if not group.get("disable", False)
        for case in group["tests"]
    ]


def words_to_bytes(words: str) -> bytes:
    out = bytearray()
    parts = iter(words.split(" "))
    for part in parts:
        if not part:
            continue
        first, rest = part[0], part[1:]
        if first == "'":
            while not rest.endswith("'"):
                rest += " " + next(parts)
            out += rest[:-1].encode()
        elif first == "i":
            out += int(rest).to_bytes(1, "big")
        elif first in _TWO_BYTES:
            out += int(rest).to_bytes(2, "big")
        elif first == "L":
            out += int(rest).to_bytes(4, "big")
        elif first in _VARIABLE:
            out += variable(int(rest))
        else:
            out += bytes.fromhex(part)
    return bytes(out)


def variable(value: int) -> bytes:
    """Also of more than four bytes, which the standard does not allow."""
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def _case(group: Mapping[str, Any], case: Mapping[str, Any]) -> Case:
    given = {**group, **case}
    return Case(
        group=" ".join(group["group"].split()),
        name=case["name"].strip(),
        version=given.get("ver", 4),
        connects=given.get("connect", True),
        ends=given.get("expect_disconnect", True),
        steps=[_step(step) for step in case["msgs"]],
    )


def _step(step: Mapping[str, Any]) -> Step:
    if step["type"] in ("send", "recv"):
        return Step(step["type"], words_to_bytes(step["payload"]))
    return Step(step["type"], b"", step["topic"], step.get("payload", ""), step.get("qos", 0))
