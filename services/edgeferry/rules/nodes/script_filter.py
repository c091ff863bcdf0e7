"""Splits messages by a condition on ``msg``, ``metadata`` and ``msgType``.

The language is ``core/expression.py``'s: a checked part of Python's expressions, such as
``msg.temperature > 20 and metadata.deviceType == "boiler"``. A missing field is null,
which no order holds for. A result that is neither true nor false is a failure.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from edgeferry.core.body import parsed
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.expression import Expression, Names
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import Leaving, NodeSpec, Output, failure
from edgeferry.core.operations import ExpressionFailed


@dataclass(frozen=True, slots=True)
class Config:
    expression: Expression

    def validate(self) -> Iterable[str]:
        return ()


def process(message: RuleMessage, config: Config) -> Iterable[Leaving]:
    expression = config.expression
    try:
        body = parsed(message) if expression.uses_msg else None
        passed = expression.holds(Names(body, message.metadata, message.type))
    except (InvalidPayload, ExpressionFailed) as error:
        return (failure(message, str(error)),)
    return (Output("True" if passed else "False", message),)


NODE = NodeSpec(
    type="script_filter",
    summary="Leaves by True when the expression holds for the message, else by False.",
    config=Config,
    relations=("True", "False"),
    process=process,
)
