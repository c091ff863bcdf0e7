"""What the service knows of the site it runs at and of the entity that a change is about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edgeferry.core.changes import edge_of
from edgeferry.core.events import CloudEvent, EdgeEvent
from edgeferry.core.message import RuleMessage


@dataclass(frozen=True, slots=True)
class Here:
    """``site``: prefix of the topics. ``origin``: ``core.changes.CLOUD_ORIGIN``, or that of
    this edge."""

    site: str
    origin: str

    @property
    def edge_id(self) -> str:
        """Empty in the Cloud."""
        return edge_of(self.origin)


class Facts(NamedTuple):
    """``edges``: that the entity is assigned to. ``switched_off``: those of them that want no
    attributes by themselves. A deleted entity has neither."""

    name: str = ""
    profile: str = ""
    edges: Sequence[str] = ()
    switched_off: frozenset[str] = frozenset()
    deleted: bool = False


@dataclass(slots=True)
class Consequences:
    """What follows from changes, each list in order. outcomes: of commands, with the topics of
    the rule nodes that sent these."""

    root: list[RuleMessage] = field(default_factory=list)
    commands: list[RuleMessage] = field(default_factory=list)
    outcomes: list[tuple[str, RuleMessage]] = field(default_factory=list)
    cloud_events: list[CloudEvent] = field(default_factory=list)
    cloud_events_ts: list[CloudEvent] = field(default_factory=list)
    edge_events: list[EdgeEvent] = field(default_factory=list)
    edge_events_ts: list[EdgeEvent] = field(default_factory=list)
