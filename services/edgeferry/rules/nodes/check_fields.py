"""Splits messages by whether the wanted fields are there (semantics 6.4, check fields)."""

from collections.abc import Iterable
from dataclasses import dataclass

from edgeferry.core.body import parsed
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.message import RuleMessage
from edgeferry.core.node import Leaving, NodeSpec, Output, failure


@dataclass(frozen=True, slots=True)
class Config:
    """Names of fields of the body and of metadata keys: all of them, or any."""

    message_names: tuple[str, ...] = ()
    metadata_names: tuple[str, ...] = ()
    check_all_keys: bool = True

    def validate(self) -> Iterable[str]:
        if not self.message_names and not self.metadata_names:
            yield "message_names: name at least one field here or in metadata_names"


def process(message: RuleMessage, config: Config) -> Iterable[Leaving]:
    found = [name in message.metadata for name in config.metadata_names]
    if config.message_names:
        try:
            body = parsed(message)
        except InvalidPayload as error:
            return (failure(message, str(error)),)
        fields = body if isinstance(body, dict) else {}
        found += [name in fields for name in config.message_names]
    passed = all(found) if config.check_all_keys else any(found)
    return (Output("True" if passed else "False", message),)


NODE = NodeSpec(
    type="check_fields",
    summary="Leaves by True when all (or any) of the named fields are there, else by False.",
    config=Config,
    relations=("True", "False"),
    process=process,
)
