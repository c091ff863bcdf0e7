"""What a move has to do, worked out once and kept in the data folder: when it is started again
after it was killed, it goes on with the same."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from edgeferry.core.errors import Stop
from edgeferry.core.store import Position
from edgeferry.files.whole import write_whole
from edgeferry.runtime.settings import Settings

FILE = "move.json"
_FORMAT = 1

Readers = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """``spans``: partition -> the first offset to copy and the one to stop before.
    ``readers``: group -> partition -> the offset that it goes on at. ``committed``: the same as
    the log has it, which with the ends tells whether the site has run since."""

    name: str
    spans: Mapping[int, tuple[int, int]]
    readers: Readers
    committed: Readers

    @property
    def records(self) -> int:
        return sum(end - begin for begin, end in self.spans.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """``log``, ``store``: the targets in words, None for what stays. ``positions``: the sync's
    memory by stream, as it has to be afterwards. ``done``: the new settings file, once all is
    copied and compared."""

    site: str
    log: str | None
    store: str | None
    topics: tuple[TopicPlan, ...]
    positions: Mapping[str, Position]
    done: str | None = None

    def write(self, data: Path) -> None:
        document = {"format": _FORMAT, **asdict(self)}
        write_whole(data / FILE, orjson.dumps(document, default=tuple, option=_OPTIONS))

    def has_target_of(self, other: "Plan") -> bool:
        return (self.log, self.store) == (other.log, other.store)

    def finished(self, settings_file: Path) -> "Plan":
        return replace(self, done=str(settings_file))


def read_plan(data: Path) -> Plan | None:
    """None when no move was begun. Raises Stop when the file is broken."""
    path = data / FILE
    if not path.exists():
        return None
    try:
        document = orjson.loads(path.read_bytes())
        if document.pop("format") != _FORMAT:
            raise ValueError("made by another version")
        return _plan(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Stop(
            f"{path} is broken ({error}): delete what was moved already from the target, and "
            "this file, then begin again"
        ) from error


def check_not_moved(settings: Settings) -> None:
    """Whether the site that these settings describe went elsewhere: what its files took from
    then on would never be seen there. Raises Stop."""
    plan = read_plan(settings.data)
    if plan is None or plan.done is None:
        return
    left = [
        f"the {name} in {target}"
        for name, target, kind in (
            ("log", plan.log, settings.log.kind),
            ("store", plan.store, settings.store.kind),
        )
        if target and kind == "sqlite"
    ]
    if left:
        raise Stop(
            f"the site {settings.site} was moved: it has {' and '.join(left)} now, and these are "
            f"its settings of before. Put {plan.done} in their place. Only when what stands there "
            f"is not wanted, delete {settings.data / FILE} to go on here"
        )


def _plan(document: dict[str, Any]) -> Plan:
    topics = tuple(
        TopicPlan(
            row["name"],
            {int(at): (begin, end) for at, (begin, end) in row["spans"].items()},
            _readers(row["readers"]),
            _readers(row["committed"]),
        )
        for row in document.pop("topics")
    )
    positions = {stream: Position(*row) for stream, row in document.pop("positions").items()}
    return Plan(topics=topics, positions=positions, **document)


def _readers(rows: dict[str, dict[str, int]]) -> Readers:
    return {
        group: {int(at): offset for at, offset in offsets.items()}
        for group, offsets in rows.items()
    }


def changed_since(before: Plan, now: Plan) -> str | None:
    """The name of a topic in which something happened since the plan was made."""
    known = {topic.name: topic for topic in before.topics}
    for topic in now.topics:
        old = known.get(topic.name)
        ends = {at: end for at, (_, end) in topic.spans.items()}
        if old is None or topic.committed != old.committed:
            return topic.name
        if ends != {at: end for at, (_, end) in old.spans.items()}:
            return topic.name
    return None


_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
