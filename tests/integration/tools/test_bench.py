"""Each benchmark, small, on what needs no server: their lines can be relied upon."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeferry.tools.bench.command import bench

TRIAL = {
    *("lost", "extra", "duplicates", "wrong_values", "stale_latest", "out_of_order"),
    "duplicates_into_cloud_chain",
}


def measured(tmp_path: Path, *options: str) -> dict[str, Any]:
    """The line of a benchmark that succeeds."""
    ended = CliRunner().invoke(bench, [*options, "--data", str(tmp_path / "data")])
    assert ended.exit_code == 0, ended.output
    line: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    assert line["name"] == options[0]
    assert {"seconds", "messages", "per_second", "cores", "load"} <= line.keys()
    return line


def test_hop(tmp_path: Path) -> None:
    line = measured(tmp_path, "hop", "--log", "sqlite", "--seconds", "0.1")
    assert (line["log"], line["messages"], line["lost"], line["duplicates"]) == (
        *("sqlite", 4000),
        *(0, 0),
    )
    assert line["cpu_seconds"]["node"] > 0


EMBEDDED = ("--servers", "embedded", "--devices", "4")


def test_e2e_at_a_rate(tmp_path: Path) -> None:
    options = (*EMBEDDED, "--rate", "100", "--seconds", "2", "--warmup", "0.5")
    line = measured(tmp_path, "e2e", *options)
    assert line["messages"] == pytest.approx(200, abs=40)
    assert {name: line[name] for name in TRIAL} == dict.fromkeys(TRIAL, 0)
    assert line["p50_ms"] > 0
    assert {line[f"{site}_{part}"] for site in ("edge", "cloud") for part in ("log", "store")} == {
        "sqlite"
    }


def test_e2e_at_the_highest_rate(tmp_path: Path) -> None:
    options = ("--rate", "max", "--seconds", "2", "--warmup", "0.5", "--devices", "4")
    line = measured(tmp_path, "e2e", "--log", "sqlite", "--store", "sqlite", *options)
    assert line["per_second"] > 0
    assert line["lost"] == 0


def test_crash(tmp_path: Path) -> None:
    options = (*EMBEDDED, "--rate", "100", "--minutes", "0.2", "--kills", "2")
    line = measured(tmp_path, "crash", *options)
    assert line["kills_by_role"] == {"edge": 1, "cloud": 1}
    assert line["recovery_by_role"].keys() == {"edge", "cloud"}
    assert line["messages"] > 0
    assert (line["lost"], line["out_of_order"], line["hop_duplicates"]) == (0, 0, 0)
    assert line["duplicates_into_cloud_chain"] == line["device_repeats"]
    assert line["hop_topics"] >= 7


def test_crash_both_ways(tmp_path: Path) -> None:
    options = (*EMBEDDED, "--rate", "50", "--minutes", "0.1", "--kills", "1", "--traffic", "both")
    line = measured(tmp_path, "crash", *options)
    both = line["both"]
    assert both["executed"] == both["states"]["SUCCESSFUL"] > 0
    assert (both["attributes_differ"], both["commands_twice"], both["commands_open"]) == (0, 0, 0)


def test_attributes(tmp_path: Path) -> None:
    options = (*EMBEDDED, "--rate", "10", "--seconds", "2", "--warmup", "0.5")
    line = measured(tmp_path, "attributes", *options)
    assert (line["lost"], line["duplicates"]) == (0, 0)
    for kind in ("attribute", "command"):
        told = line[kind]
        assert told["n"] == pytest.approx(20, abs=4)
        assert 0 < told["p50_ms"] <= told["p95_ms"] <= told["p99_ms"] <= told["max_ms"]
    assert line["p50_ms"] == line["attribute"]["p50_ms"]
    assert {"edge", "cloud", "load"} <= line["cpu_seconds"].keys()


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_outage(tmp_path: Path, how: str) -> None:
    options = (*EMBEDDED, "--rate", "200", "--messages", "1000", "--warmup", "1", "--link", how)
    line = measured(tmp_path, "outage", *options)
    assert (line["messages"], line["lost"], line["out_of_order"]) == (1000, 0, 0)
    assert line["waiting"] >= 900
    assert line["outbox"]["during"]["depth"] > 0
    assert line["outbox"]["after"]["depth"] == 0
    assert line["reads"]["answered"] == line["reads"]["asked"] > 0
    assert line["rss_mb"]["max"] > 0
    assert line["drain_per_second"] > 0
