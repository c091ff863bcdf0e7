"""``edgeferry lag``: what each rule node and processor of a site still has to read."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from edgeferry.core.chain import Chains
from edgeferry.log.port import PartitionLag
from edgeferry.log.topics import site_topic
from edgeferry.rules.inputs import node_inputs
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.sync.lanes import DOWN, UP
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
    """In the order of the data's way: what came over the link, the rule nodes, the owner of
    changes, and in the Cloud what goes to the edges."""
    site = settings.site

    def processor(name: str, *topics: str) -> Reader:
        return Reader("", name, f"{site}.{name}", tuple(site_topic(site, one) for one in topics))

    nodes = [
        Reader(reads.chain, reads.node, reads.topic, (reads.topic,))
        for reads in node_inputs(site, chains)
    ]
    attributes = processor("attributes", "attribute-changes")
    if settings.role == "cloud":
        return [processor("intake", *UP), *nodes, attributes, processor("edge-queue", *DOWN)]
    return [processor("apply", *DOWN), *nodes, attributes]


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
    """Records that each node of the site's chains still has to read, and those that the owner
    of changes and the link's processors have."""
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
