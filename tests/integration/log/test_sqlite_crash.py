"""SIGKILL at random moments under load: what was acknowledged stands once, in its order;
a hop's outputs and its offset stand together or not at all."""

import random
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from edgeferry.core.record import Record
from tests.integration.log import sqlite_program
from tests.unit.log.sqlite_logs import opened, rows_of

KILLS = 20


def _run_and_kill(folder: Path, appends: int) -> list[tuple[int, int, int]]:
    """Killed after so many acknowledged appends; all that were acknowledged."""
    with subprocess.Popen(
        [sys.executable, sqlite_program.__file__, str(folder)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        lines = [process.stdout.readline() for _ in range(appends)]
        process.kill()
        lines += process.stdout.readlines()
    rows = [line.split() for line in lines if line.endswith(b"\n")]
    return [(int(caller), int(first), int(last)) for caller, first, last in rows]


def _number(row: Record) -> int:
    return int((row.value or b"").split()[0])


@pytest.mark.asyncio
async def test_every_acknowledged_append_survives_any_kill(tmp_path: Path) -> None:
    dice = random.Random(11)
    acknowledged: dict[int, int] = defaultdict(lambda: -1)
    for _ in range(KILLS):
        for caller, first, last in _run_and_kill(tmp_path, dice.randrange(200)):
            assert first > acknowledged[caller], f"{caller}: repeated what was acknowledged"
            acknowledged[caller] = last
    async with opened(tmp_path) as log:
        found: dict[int, list[int]] = defaultdict(list)
        rows_in, rows_out = rows_of(log, "in"), rows_of(log, "out")
        for row in rows_in:
            found[int(row.key or b"")].append(_number(row))
        for caller, last in acknowledged.items():
            assert found[caller] == list(range(len(found[caller]))), f"{caller}: order"
            assert len(found[caller]) > last, f"{caller}: lost"
        done = log.group_offsets(sqlite_program.HOP)["in", 0]
        assert [(row.key, row.value) for row in rows_out] == [
            (row.key, row.value) for row in rows_in[:done]
        ]
        start, end = log.bounds("copy", 0)
        assert end == done
        assert [row.value for row in rows_of(log, "copy")] == [
            row.value for row in rows_in[start:done]
        ]
    with closing(sqlite3.connect(tmp_path / "log.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
