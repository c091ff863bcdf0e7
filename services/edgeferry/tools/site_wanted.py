"""What a process runs of its site: all of it, or a part that has a process of its own."""

from dataclasses import dataclass

from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import Settings

ALL_NODES = "*"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What this process runs. nodes: names of rule nodes, ``ALL_NODES``, or none;
    chain: the name of theirs, empty for the root chain, or for every chain of all nodes.
    attributes: the owner of changes."""

    nodes: tuple[str, ...] = ()
    chain: str = ""
    gateway: bool = False
    sync: bool = False
    api: bool = False
    attributes: bool = False


WHOLE = Wanted(nodes=(ALL_NODES,), gateway=True, sync=True, api=True, attributes=True)


def check_parts(settings: Settings, wanted: Wanted) -> None:
    """Raises InvalidSettings when a part could not share what the site stands on."""
    if wanted == WHOLE:
        return
    problems = []
    if settings.log.kind == "sqlite":
        problems.append("log.kind is sqlite: set kafka")
    if settings.store.kind == "sqlite":
        problems.append("store.kind is sqlite: set cassandra")
    if problems:
        raise InvalidSettings(
            "a SQLite file belongs to one process, so this site cannot run in parts "
            f"({'; '.join(problems)}), or run all of it in one process with `edgeferry site`"
        )
