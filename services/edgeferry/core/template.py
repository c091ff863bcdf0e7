"""Text with ``${key}`` for metadata and ``$[key]`` for fields of the message's body.

``$[a.b]`` reads a field of a field; ``${*}`` and ``$[*]`` stand for all of it as JSON.
What is not there stays as it is written.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from edgeferry.core.message import RuleMessage

LENGTH_MAX: Final = 2_000
_PLACE: Final = re.compile(r"\$\{([^{}\[\]]+)\}|\$\[([^{}\[\]]+)\]")
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class _Place:
    text: str
    path: tuple[str, ...]
    of_body: bool


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: literal texts and places in turn."""

    text: str
    parts: Sequence[str | _Place]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Raises ValueError when it is too long."""
        if len(text) > LENGTH_MAX:
            raise ValueError(f"longer than {LENGTH_MAX} characters")
        parts: list[str | _Place] = []
        end = 0
        for match in _PLACE.finditer(text):
            parts.append(text[end : match.start()])
            in_metadata, in_body = match.groups()
            path = (in_metadata,) if in_metadata else tuple(in_body.split("."))
            parts.append(_Place(match.group(), path, in_body is not None))
            end = match.end()
        parts.append(text[end:])
        return cls(text, tuple(part for part in parts if part))

    def render(self, message: RuleMessage) -> str:
        return "".join(
            part if isinstance(part, str) else _value(part, message) for part in self.parts
        )


def _value(place: _Place, message: RuleMessage) -> str:
    if place.path == ("*",):
        if place.of_body:
            return message.data
        return json.dumps(dict(message.metadata), ensure_ascii=False)
    if not place.of_body:
        return message.metadata.get(place.path[0], place.text)
    try:
        found: Any = message.json
    except (ValueError, RecursionError):  # a text body has no fields
        return place.text
    for name in place.path:
        found = found.get(name, _MISSING) if isinstance(found, dict) else _MISSING
    if found is _MISSING:
        return place.text
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
