"""``edgeferry move``: a site that outgrows one machine goes from SQLite to Kafka and Cassandra."""

from pathlib import Path

import click

from edgeferry.core.clock import SystemClock
from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import CassandraSettings, Settings, load_settings
from edgeferry.tools.move_run import Moved, Mover
from edgeferry.tools.options import settings_option
from edgeferry.tools.output import asynchronous, json_option, print_json, print_table
from edgeferry.tools.shape import SiteShape, store_settings


@click.command()
@settings_option("edge")
@click.option("--to-log", type=click.Choice(["kafka"]), help="Move the log there.")
@click.option("--kafka", metavar="HOST:PORT", help="Its brokers.  [default: as in the settings]")
@click.option("--to-store", type=click.Choice(["cassandra"]), help="Move the store there.")
@click.option(
    "--cassandra", metavar="HOST:PORT", help="Its servers.  [default: as in the settings]"
)
@click.option("--keyspace", help="Of Cassandra.  [default: as in the settings]")
@click.option("--dry-run", is_flag=True, help="Only say what would be moved.")
@json_option
@asynchronous
async def move(
    settings_file: Path,
    to_log: str | None,
    to_store: str | None,
    dry_run: bool,
    as_json: bool,
    **addresses: str | None,
) -> None:
    """Copy a stopped site's log and store from SQLite to Kafka and Cassandra.

    Killed at any moment and started again with the same options, it goes on. What was copied
    is counted and compared; then new settings are written beside the old ones. The old files
    stay as they are."""
    if to_log is None and to_store is None:
        raise click.UsageError("say what to move: --to-log kafka, --to-store cassandra, or both")
    settings = load_settings(settings_file)
    overrides = {
        "log.kind": to_log,
        "log.kafka.bootstrap": addresses["kafka"],
        "store.kind": to_store,
        "store.cassandra.contact_points": addresses["cassandra"],
        "store.cassandra.keyspace": addresses["keyspace"] or _usual_keyspace(settings),
    }
    _check_kinds(settings, to_log, to_store)
    mover = Mover(
        settings_file=settings_file,
        settings=settings,
        target=load_settings(settings_file, overrides),
        clock=SystemClock(),
        say=lambda text: click.echo(text, err=True),
    )
    moved = await mover.run(dry_run=dry_run)
    if as_json:
        print_json(moved.document())
    else:
        _tell(moved)


def _usual_keyspace(settings: Settings) -> str | None:
    """Of a site whose settings name none: that in which it would have begun."""
    if settings.store.cassandra != CassandraSettings():
        return None
    return store_settings(SiteShape(store="cassandra"), {}, settings.role).cassandra.keyspace


def _check_kinds(settings: Settings, to_log: str | None, to_store: str | None) -> None:
    """Raises InvalidSettings."""
    for name, asked, kind in (
        ("log", to_log, settings.log.kind),
        ("store", to_store, settings.store.kind),
    ):
        if asked and kind != "sqlite":
            raise InvalidSettings(
                f"the {name} of site {settings.site} is on {kind} already: leave --to-{name} out"
            )


def _tell(moved: Moved) -> None:
    rows = [(name, *one) for name, one in moved.topics.items() if one.records]
    if rows:
        print_table(("topic", "records", "bytes", "checksum"), rows)
    if moved.rows:
        print_table(("table", "rows"), moved.rows.items())
    click.echo(moved.conclusion)
