"""What the REST interface needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgeferry.api.auth import Auth
from edgeferry.core.clock import Clock
from edgeferry.core.store import Store


@dataclass(frozen=True, slots=True)
class ApiContext:
    """topics: topic name -> record type (``log.topics.TopicSettings``), for the schema
    registry's subjects. read_token: opens the registry to programs on other machines."""

    store: Store
    auth: Auth
    clock: Clock
    topics: Mapping[str, str] = field(default_factory=dict)
    read_token: str = ""
