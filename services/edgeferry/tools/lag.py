"""``edgeferry lag``: what each rule node of a site still has to read."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from edgeferry.core.chain import Chains
from edgeferry.log.port import PartitionLag
from edgeferry.log.topics import site_topic
from edgeferry.rules.inputs import node_inputs
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.sync.lanes import UP
from edgeferry.tools.opened import opened_log
from edgeferry.tools.options import load_site_chains, settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table


class Reader(NamedTuple):
    """What reads where. chain: of a rule node, else empty."""

    chain: str
    node: str
    group: str
    topics: tuple[str, ...]


def readers(settings: Settings, chains: Chains) -> list[Reader]:
    found = [
        Reader(reads.chain, reads.node, reads.topic, (reads.topic,))
        for reads in node_inputs(settings.site, chains)
    ]
    if settings.role == "cloud":
        received = tuple(site_topic(settings.site, n) for n in UP)
        found.insert(0, Reader("", "intake", f"{settings.site}.intake", received))
    return found


def _row(reader: Reader, partitions: Sequence[PartitionLag]) -> dict[str, object]:
    return {
        "chain": reader.chain,
        "node": reader.node,
        "group": reader.group,
        "lag": sum(partition.lag for partition in partitions),
        "end": sum(partition.end for partition in partitions),
        "behind_most": max((partition.lag for partition in partitions), default=0),
    }


@click.command()
@settings_option("cloud")
@json_option
@asynchronous
async def lag(settings_file: Path, as_json: bool) -> None:
    """Records that each node of the site's chains still has to read."""
    settings = load_settings(settings_file)
    chains = load_site_chains(settings)
    async with opened_log(settings) as log:
        rows = [
            _row(reader, await log.topics.lag(reader.group, reader.topics))
            for reader in readers(settings, chains)
        ]
    if as_json:
        print_json({"site": settings.site, "chain": chains.root.name, "nodes": rows})
        return
    print_table(
        ("chain", "node", "lag", "of the slowest partition", "records so far"),
        ((row["chain"], row["node"], row["lag"], row["behind_most"], row["end"]) for row in rows),
        title=f"{settings.site}: {chains.root.name}",
    )
