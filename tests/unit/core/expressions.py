"""A message to put expressions to."""

from typing import Any

from edgeferry.core.expression import Expression, Names

MSG = {
    "temperature": 21.5,
    "count": 3,
    "on": True,
    "name": "Boiler 1",
    "tags": ["hot", "old"],
    "inner": {"deep": {"x": 7}},
    "null": None,
    "a b": 1,
}
NAMES = Names(MSG, {"deviceType": "boiler", "level": "7"}, "POST_TELEMETRY_REQUEST")


def value(text: str) -> Any:
    return Expression.parse(text).value(NAMES)
