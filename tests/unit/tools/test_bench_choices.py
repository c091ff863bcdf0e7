"""What a benchmark's options choose."""

import click
import pytest

from edgeferry.tools.bench.choices import chosen
from edgeferry.tools.bench.crash import CrashPlan
from edgeferry.tools.bench.installation import Shape


def test_a_benchmark_runs_on_servers_with_what_up_chooses() -> None:
    assert chosen() == [Shape("local")]
    assert Shape("local").options() == ["--servers=local"]


def test_sqlite_everywhere_needs_no_server() -> None:
    (shape,) = chosen(log="sqlite", store="sqlite")
    assert shape.options() == [
        "--servers=embedded",
        *("--edge-log=sqlite", "--edge-store=sqlite"),
        *("--cloud-log=sqlite", "--cloud-store=sqlite"),
    ]


def test_kafka_is_for_both_sites_and_cassandra_for_the_cloud() -> None:
    (shape,) = chosen(log="kafka", store="cassandra")
    assert shape == Shape("local", "kafka", None, "kafka", "cassandra")


def test_a_site_may_be_chosen_for_itself() -> None:
    (shape,) = chosen(log="kafka", edge_log="sqlite")
    assert (shape.edge_log, shape.cloud_log) == ("sqlite", "kafka")


def test_both_may_be_measured_in_one_run() -> None:
    both = chosen(servers=("embedded", "local", "embedded"))
    assert [shape.servers for shape in both] == ["embedded", "local"]


def test_embedded_and_kafka_contradict_each_other() -> None:
    with pytest.raises(click.UsageError, match="embedded has no kafka: give --servers local"):
        chosen(servers=("embedded",), log="kafka")


def test_kills_are_spread_over_the_time_and_all_roles() -> None:
    plan = CrashPlan(rate=1, seconds=100, kills=20)
    moments = plan.moments()
    times = [seconds for seconds, _ in moments]
    assert times == sorted(times)
    assert all(i * 4.85 <= seconds < (i + 1) * 4.85 for i, seconds in enumerate(times))
    roles = [role for _, role in moments]
    assert (roles.count("edge"), roles.count("cloud")) == (10, 10)
    assert moments == plan.moments()
    assert moments != CrashPlan(rate=1, seconds=100, kills=20, seed=2).moments()
