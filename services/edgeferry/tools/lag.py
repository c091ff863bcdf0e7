"""``edgeferry lag``: what each rule node of a site still has to read."""

from collections.abc import Sequence
from pathlib import Path

import click

from edgeferry.core.chain import Chain
from edgeferry.log.port import PartitionLag
from edgeferry.log.topics import site_topic
from edgeferry.rules.processor import input_topic
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.sync.lanes import UP
from edgeferry.tools.opened import opened_log
from edgeferry.tools.options import load_root_chain, settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table


def readers(settings: Settings, chain: Chain) -> list[tuple[str, str, tuple[str, ...]]]:
    """What reads where: name, consumer group, topics."""
    found: list[tuple[str, str, tuple[str, ...]]] = [
        (node, topic, (topic,))
        for node in chain.nodes
        for topic in [input_topic(settings.site, chain, node, root=True)]
    ]
    if settings.role == "cloud":
        received = tuple(site_topic(settings.site, n) for n in UP)
        found.insert(0, ("intake", f"{settings.site}.intake", received))
    return found


def _row(name: str, group: str, partitions: Sequence[PartitionLag]) -> dict[str, object]:
    return {
        "node": name,
        "group": group,
        "lag": sum(partition.lag for partition in partitions),
        "end": sum(partition.end for partition in partitions),
        "behind_most": max((partition.lag for partition in partitions), default=0),
    }


@click.command()
@settings_option("cloud")
@json_option
@asynchronous
async def lag(settings_file: Path, as_json: bool) -> None:
    """Records that each node of the root chain still has to read."""
    settings = load_settings(settings_file)
    chain = load_root_chain(settings)
    async with opened_log(settings) as log:
        rows = [
            _row(name, group, await log.topics.lag(group, topics))
            for name, group, topics in readers(settings, chain)
        ]
    if as_json:
        print_json({"site": settings.site, "chain": chain.name, "nodes": rows})
        return
    print_table(
        ("node", "lag", "of the slowest partition", "records so far"),
        ((row["node"], row["lag"], row["behind_most"], row["end"]) for row in rows),
        title=f"{settings.site}: {chain.name}",
    )
