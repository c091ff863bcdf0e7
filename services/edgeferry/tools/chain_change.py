"""Before another chain is started: does anything still stand in the topics of an old one?

Records between two nodes were acknowledged to their senders. A chain without these nodes
never reads them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeferry.core.chain import Chains
from edgeferry.core.errors import Stop
from edgeferry.log.port import PartitionLag
from edgeferry.log.topics import Role, catalogue, root_topic
from edgeferry.runtime.settings import Settings
from edgeferry.tools.options import DEFAULT_CHAINS


class ChainNotEmpty(Stop):
    """Records of the chain before would never be read; the text says which and what to do."""


class Lags(Protocol):
    """What is asked of ``log.port.Topics``."""

    async def partitions(self) -> Mapping[str, int]: ...

    async def lag(self, group: str, topics: Sequence[str]) -> Sequence[PartitionLag]: ...


@dataclass(frozen=True, slots=True)
class ChainChange:
    """before: name or path of the root chain that ran last, None when none is remembered.
    wanted, chains: the same of the one to start, and that with all that it reaches.
    settings: the file of the site. option: by which its chain is chosen."""

    role: Role
    site: str
    before: str | None
    wanted: str
    chains: Chains
    settings: str
    option: str


@dataclass(frozen=True, slots=True)
class RootChain:
    """A site's root chain at a start. before: name or path of the one that ran last, asked:
    of the one that is asked for now, both None when there is none; option: by which it is."""

    role: Role
    before: str | None
    asked: str | None
    option: str

    @property
    def wanted(self) -> str:
        return self.asked or self.before or DEFAULT_CHAINS[self.role]

    @property
    def changed(self) -> bool:
        return self.before not in (None, self.wanted)

    def check(self) -> None:
        """Before anything is started. The chains that come with the package are right.

        Raises InvalidChain."""
        if self.asked or self.wanted.endswith(".yaml"):
            from edgeferry.rules.nesting import load_chains

            load_chains(self.wanted, self.role)

    async def unread(self, settings: Settings, file: Path) -> str:
        """See ``check_change``; ``file`` has the settings. Raises ChainNotEmpty, InvalidChain."""
        if settings.log.kind == "sqlite" and not (settings.data / "log.db").exists():
            return ""
        from edgeferry.rules.nesting import load_chains
        from edgeferry.tools.opened import opened_log

        change = ChainChange(
            role=self.role,
            site=settings.site,
            before=self.before,
            wanted=self.wanted,
            chains=load_chains(self.wanted, self.role),
            settings=str(file),
            option=self.option,
        )
        async with opened_log(settings) as log:
            return await check_change(log.topics, change)


async def unread(topics: Lags, site: str, chains: Chains) -> dict[str, int]:
    """Topic -> records that stand before nodes which none of the site's chains has.

    Also those of chains that ran before the last ones. Raises LogUnavailable."""
    from edgeferry.rules.inputs import node_inputs  # a start that changes nothing needs it not

    of_chains = re.compile(rf"{re.escape(site)}\.[^.]+(\.[^.]+)?")
    known = {root_topic(site), *(f"{site}.{name}" for name in catalogue()["topics"])}
    known.update(reads.topic for reads in node_inputs(site, chains))
    others = [
        topic
        for topic in sorted(await topics.partitions())
        if of_chains.fullmatch(topic) and topic not in known
    ]
    return await _waiting(topics, others)


async def called_earlier(topics: Lags, site: str, chains: Chains) -> dict[str, int]:
    """Topic -> records inside of nested chains: they return to the nodes that called these,
    which another root chain has not. Raises LogUnavailable."""
    from edgeferry.rules.inputs import node_inputs

    inputs = node_inputs(site, chains)
    nested = [reads.topic for reads in inputs if reads.chain != chains.root.name]
    there = await topics.partitions()
    return await _waiting(topics, [topic for topic in nested if topic in there])


async def _waiting(topics: Lags, names: Sequence[str]) -> dict[str, int]:
    found = {name: sum(row.lag for row in await topics.lag(name, [name])) for name in names}
    return {name: records for name, records in found.items() if records}


async def check_change(topics: Lags, change: ChainChange) -> str:
    """A warning, or nothing. Raises ChainNotEmpty when the chain was changed too early."""
    changed = change.before not in (None, change.wanted)
    left = await unread(topics, change.site, change.chains)
    name = change.chains.root.name
    stand = f"{_listed(left)}, which no node of chain {name} reads"
    if not changed:
        return (
            f"{change.role}: {stand}; to have them processed, start once with their chain "
            f"({change.option}; a topic is named <site>.<chain>.<node>)"
            if left
            else ""
        )
    if not left:
        left = await called_earlier(topics, change.site, change.chains)
        stand = f"{_listed(left)}, which are to return to the chain that called"
    if not left:
        return ""
    raise ChainNotEmpty(
        f"{change.role}: {stand}. Start once with {change.option} {change.before}, wait "
        f"until `edgeferry lag --settings {change.settings}` shows 0 for every node, stop, and "
        f"then start with {change.option} {change.wanted}"
    )


def _listed(left: Mapping[str, int]) -> str:
    count = sum(left.values())
    topics = ", ".join(f"{topic} ({records})" for topic, records in left.items())
    return f"{count} unread {'record stands' if count == 1 else 'records stand'} in {topics}"
