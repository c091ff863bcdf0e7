"""``edgeferry topics``: makes a site's topics, a job before its start; never a service's."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import click

from edgeferry.log.topics import TopicSettings, chain_topics, site_topics
from edgeferry.rules.inputs import input_topics, node_inputs
from edgeferry.rules.nesting import load_chains
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.tools.opened import opened_log
from edgeferry.tools.options import load_site_chains, settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table


def wanted_topics(settings: Settings, chains: Iterable[str] = ()) -> list[TopicSettings]:
    """The catalogue's topics for the site's role, those of its chains and of ``chains``, with
    all that these reach.

    A log that is a file has one reader per topic: one partition each. Raises InvalidChain."""
    site = settings.site
    names = [reads.topic for reads in node_inputs(site, load_site_chains(settings))]
    for name in chains:
        for chain in load_chains(name, settings.role).all:
            names += input_topics(site, chain, root=False)
    wanted = [
        *site_topics(site, settings.role),
        *chain_topics(dict.fromkeys(names), settings.log.kafka.partitions),
    ]
    if settings.log.kind == "sqlite":
        return [replace(topic, partitions=1) for topic in wanted]
    return wanted


async def apply_topics(settings: Settings, chains: Iterable[str] = ()) -> Sequence[str]:
    """Make what is missing; the names of those made.

    Raises InvalidChain, LogUnavailable, LogUnusable, Stop."""
    async with opened_log(settings, owner=True) as log:
        return await log.topics.ensure(wanted_topics(settings, chains))


@click.group()
def topics() -> None:
    """Make and list the topics of a site."""


@topics.command()
@settings_option("cloud")
@click.option("--chain", "chains", multiple=True, help="Another chain beside those of the site.")
@json_option
@asynchronous
async def apply(settings_file: Path, chains: tuple[str, ...], as_json: bool) -> None:
    """Make the topics that are missing."""
    made = await apply_topics(load_settings(settings_file), chains)
    if as_json:
        print_json({"made": made})
    else:
        click.echo("\n".join(f"made {name}" for name in made) or "nothing was missing")


@topics.command("list")
@settings_option("cloud")
@json_option
@asynchronous
async def list_topics(settings_file: Path, as_json: bool) -> None:
    """Topics of the site, with those that are missing."""
    settings = load_settings(settings_file)
    async with opened_log(settings) as log:
        existing = await log.topics.partitions()
    rows = [
        {
            "topic": topic.name,
            "value": topic.value,
            "partitions": topic.partitions,
            "retention_ms": topic.retention_ms,
            "exists": topic.name in existing,
        }
        for topic in wanted_topics(settings)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("topic", "value", "partitions", "retention", ""),
        (
            (
                row["topic"],
                row["value"],
                row["partitions"],
                "until read" if row["retention_ms"] is None else f"{row['retention_ms']} ms",
                "" if row["exists"] else "missing",
            )
            for row in rows
        ),
    )
