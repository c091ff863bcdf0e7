"""Before another chain is started: does anything still stand in the topics of an old one?

Records between two nodes were acknowledged to their senders. A chain without these nodes
never reads them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeferry.core.chain import Chain
from edgeferry.core.errors import Stop
from edgeferry.log.port import PartitionLag
from edgeferry.log.topics import Role
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
    wanted, chain: the same of the one to start, and itself. settings: the file of the site.
    option: by which its chain is chosen."""

    role: Role
    site: str
    before: str | None
    wanted: str
    chain: Chain
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
            from edgeferry.rules.loader import load_chain

            load_chain(self.wanted, self.role)

    async def unread(self, settings: Settings, file: Path) -> str:
        """See ``check_change``; ``file`` has the settings. Raises ChainNotEmpty, InvalidChain."""
        if settings.log.kind == "sqlite" and not (settings.data / "log.db").exists():
            return ""
        from edgeferry.rules.loader import load_chain
        from edgeferry.tools.opened import opened_log

        change = ChainChange(
            role=self.role,
            site=settings.site,
            before=self.before,
            wanted=self.wanted,
            chain=load_chain(self.wanted, self.role),
            settings=str(file),
            option=self.option,
        )
        async with opened_log(settings) as log:
            return await check_change(log.topics, change)


async def unread(topics: Lags, site: str, chain: Chain) -> dict[str, int]:
    """Topic -> records that stand before nodes which the site's root chain has not.

    Also those of chains that ran before the last one. Raises LogUnavailable."""
    from edgeferry.rules.processor import input_topics  # a start that changes nothing needs it not

    of_nodes = re.compile(rf"{re.escape(site)}\.[^.]+\.[^.]+")
    read = set(input_topics(site, chain, root=True))
    others = [t for t in sorted(await topics.partitions()) if of_nodes.fullmatch(t)]
    found = {
        topic: sum(row.lag for row in await topics.lag(topic, [topic]))
        for topic in others
        if topic not in read
    }
    return {topic: records for topic, records in found.items() if records}


async def check_change(topics: Lags, change: ChainChange) -> str:
    """A warning, or nothing. Raises ChainNotEmpty when the chain was changed too early."""
    left = await unread(topics, change.site, change.chain)
    if not left:
        return ""
    stand = f"{_listed(left)}, which no node of chain {change.chain.name} reads"
    if change.before in (None, change.wanted):
        return (
            f"{change.role}: {stand}; to have them processed, start once with their chain "
            f"({change.option}; a topic is named <site>.<chain>.<node>)"
        )
    raise ChainNotEmpty(
        f"{change.role}: {stand}. Start once with {change.option} {change.before}, wait "
        f"until `edgeferry lag --settings {change.settings}` shows 0 for every node, stop, and "
        f"then start with {change.option} {change.wanted}"
    )


def _listed(left: Mapping[str, int]) -> str:
    count = sum(left.values())
    topics = ", ".join(f"{topic} ({records})" for topic, records in left.items())
    return f"{count} unread {'record stands' if count == 1 else 'records stand'} in {topics}"
