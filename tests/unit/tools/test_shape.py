"""What a data folder's sites stand on, and that it stays so."""

from pathlib import Path

import pytest

from edgeferry.core.errors import InvalidSettings
from edgeferry.runtime.settings import Settings
from edgeferry.tools.shape import (
    HERE,
    Asked,
    Role,
    ShapeChanged,
    SiteShape,
    asked_of_up,
    check_unchanged,
    log_settings,
    shape_of,
    store_settings,
)

NEW = SiteShape()
SERVERS = SiteShape("kafka", "cassandra", HERE, HERE)
NOTHING: dict[str, str | None] = dict.fromkeys(
    ("cloud_log", "cloud_store", "edge_log", "edge_store", "kafka", "cassandra")
)


def chosen(servers: str | None, before: dict[Role, SiteShape] | None = None, **said: str) -> object:
    """(Cloud, Edge)."""
    asked = asked_of_up(servers, {**NOTHING, **said})
    kept = before or {"cloud": NEW, "edge": NEW}
    return asked["cloud"].over(kept["cloud"]), asked["edge"].over(kept["edge"])


def test_without_options_everything_is_embedded() -> None:
    assert chosen(None) == (NEW, NEW)
    assert chosen("embedded") == (NEW, NEW)


def test_local_servers_are_the_clouds_and_the_edge_keeps_its_files() -> None:
    assert chosen("local") == (SERVERS, NEW)


def test_each_part_can_be_chosen() -> None:
    assert chosen("local", edge_log="kafka") == (SERVERS, SiteShape("kafka", "sqlite", HERE, ""))
    assert chosen("local", cloud_store="sqlite") == (SiteShape("kafka", "sqlite", HERE, ""), NEW)
    assert chosen(None, edge_store="cassandra") == (NEW, SiteShape("sqlite", "cassandra", "", HERE))


def test_an_address_stands_for_its_kind_and_starts_nothing() -> None:
    cloud = SiteShape("kafka", "sqlite", "a:9092", "")
    assert chosen(None, kafka="a:9092") == (cloud, NEW)
    assert not list(cloud.started_here())
    assert chosen("local", kafka="a:9092") == (SiteShape("kafka", "cassandra", "a:9092", HERE), NEW)
    both = SiteShape("kafka", "sqlite", "a:9092", "")
    assert chosen(None, kafka="a:9092", edge_log="kafka") == (both, both)


def test_an_address_that_nothing_uses_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="--kafka is of no use"):
        chosen(None, kafka="a:9092", cloud_log="sqlite")
    with pytest.raises(InvalidSettings, match="--cassandra is of no use"):
        chosen(None, cassandra="a:9042", cloud_store="sqlite")


def test_a_folder_goes_on_as_it_was_when_nothing_is_said() -> None:
    kept: dict[Role, SiteShape] = {"cloud": SERVERS, "edge": SiteShape("kafka", kafka=HERE)}
    assert chosen(None, kept) == (kept["cloud"], kept["edge"])
    assert chosen("local", kept) == (kept["cloud"], kept["edge"])
    assert chosen("embedded", kept) == (NEW, NEW)


def test_another_shape_is_refused_with_what_to_do(tmp_path: Path) -> None:
    check_unchanged(tmp_path, "cloud", SERVERS, SERVERS)
    with pytest.raises(ShapeChanged) as refused:
        check_unchanged(tmp_path, "cloud", SERVERS, NEW)
    said = str(refused.value)
    assert "its log in the Kafka of this folder, not in SQLite" in said
    assert "its store in the Cassandra of this folder, not in SQLite" in said
    assert "edgeferry move" in said
    with pytest.raises(ShapeChanged, match="the Kafka at a:1, not in the Kafka at b:1"):
        check_unchanged(
            tmp_path, "edge", SiteShape("kafka", kafka="a:1"), SiteShape("kafka", kafka="b:1")
        )


@pytest.mark.parametrize(
    "shape",
    [NEW, SERVERS, SiteShape("kafka", "cassandra", "a:1", "b:2,c:3"), SiteShape("sqlite")],
)
def test_a_shape_reads_back_from_the_settings(shape: SiteShape) -> None:
    here = {"kafka": "127.0.0.1:15001", "cassandra": "127.0.0.1:15002"}
    settings = Settings(log=log_settings(shape, here), store=store_settings(shape, here, "cloud"))
    assert shape_of(settings, here) == shape


def test_an_edge_on_the_clouds_cassandra_has_a_keyspace_of_its_own() -> None:
    here = {"cassandra": "127.0.0.1:15002"}
    shape = Asked(store="cassandra").over(NEW)
    keyspaces = {store_settings(shape, here, role).cassandra.keyspace for role in ("cloud", "edge")}
    assert len(keyspaces) == 2
