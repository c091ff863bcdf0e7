"""The supervisor, with small programs in place of sites."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from edgeferry.core.clock import SystemClock
from edgeferry.tools.supervise import ChildProcess, ChildSpec, StartFailed, Supervisor

READY_THEN_WAIT = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: (print("stopped", sys.argv[2], flush=True), sys.exit(0)))
pathlib.Path(sys.argv[1]).write_text("ready")
signal.pause()
"""
READY_AND_DEAF = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).write_text("ready")
signal.pause()
"""


def child(
    tmp_path: Path, name: str, program: str = READY_THEN_WAIT, stop_timeout: float = 10
) -> ChildProcess:
    ready = tmp_path / f"{name}.ready"
    spec = ChildSpec(
        name=name,
        argv=(sys.executable, "-c", program, str(ready), name),
        log=tmp_path / "all.log",
        ready_file=ready,
        start_timeout=10,
        stop_timeout=stop_timeout,
    )
    return ChildProcess(spec, SystemClock())


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


Supervise = Callable[..., Supervisor]


@pytest_asyncio.fixture
async def supervise() -> AsyncIterator[Supervise]:
    made: list[Supervisor] = []

    def make(said: list[str] | None = None) -> Supervisor:
        lines = [] if said is None else said
        made.append(Supervisor(SystemClock(), lines.append))
        return made[-1]

    yield make
    for supervisor in made:
        await supervisor.stop()


@pytest.mark.asyncio
async def test_start_returns_when_the_child_is_ready(tmp_path: Path, supervise: Supervise) -> None:
    part = child(tmp_path, "edge")
    supervisor = supervise()
    await supervisor.start(part)
    assert supervisor.pids == {"edge": part.pid}
    assert (tmp_path / "edge.ready").exists()


@pytest.mark.asyncio
async def test_a_killed_child_is_started_again_and_said_so(
    tmp_path: Path, supervise: Supervise
) -> None:
    part, said = child(tmp_path, "edge"), list[str]()
    supervisor = supervise(said)
    await supervisor.start(part)
    first = part.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: len(said) == 2)
    assert part.pid not in (None, first)
    assert said[0] == "edge was ended by SIGKILL; starting it again in 0.5 s"
    assert said[1] == f"edge runs again (process {part.pid})"


@pytest.mark.asyncio
async def test_a_child_is_started_again_once_the_machine_allows_it(
    tmp_path: Path, supervise: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeferry.tools.supervise._FIRST_BACKOFF", 0.01)
    part, said = child(tmp_path, "edge"), list[str]()
    supervisor = supervise(said)
    await supervisor.start(part)
    first, start, refusals = part.pid, part.start, [errno.EMFILE, errno.ENOSPC]
    assert first is not None

    async def start_or_not() -> None:
        if refusals:
            number = refusals.pop(0)
            raise OSError(number, os.strerror(number))
        await start()

    monkeypatch.setattr(part, "start", start_or_not)
    os.kill(first, signal.SIGKILL)
    await until(lambda: bool(said) and said[-1] == f"edge runs again (process {part.pid})")
    assert part.pid not in (None, first)
    assert said[1] == f"edge: [Errno {errno.EMFILE}] Too many open files"
    assert said[3] == f"edge: [Errno {errno.ENOSPC}] No space left on device"


@pytest.mark.asyncio
async def test_what_cannot_be_said_or_written_ends_no_watching(tmp_path: Path) -> None:
    part = child(tmp_path, "edge")

    def full(*_: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    calls: list[int | None] = []

    def changed() -> None:
        calls.append(part.pid)
        if len(calls) > 1:
            full()

    supervisor = Supervisor(SystemClock(), full, changed)
    await supervisor.start(part)
    try:
        for count in (2, 3):
            assert part.pid is not None
            os.kill(part.pid, signal.SIGKILL)
            await until(lambda count=count: len(calls) == count)  # type: ignore[misc]
    finally:
        await supervisor.stop()


@pytest.mark.asyncio
async def test_all_are_stopped_last_started_first(tmp_path: Path, supervise: Supervise) -> None:
    servers, site = child(tmp_path, "servers"), child(tmp_path, "site")
    supervisor = supervise()
    await supervisor.start(servers)
    await supervisor.start(site)
    await supervisor.stop()
    assert (tmp_path / "all.log").read_text().split() == ["stopped", "site", "stopped", "servers"]
    assert supervisor.pids == {}


@pytest.mark.asyncio
async def test_when_one_of_several_cannot_start_none_is_left_and_another_try_may_follow(
    tmp_path: Path, supervise: Supervise
) -> None:
    good, bad = child(tmp_path, "cloud"), child(tmp_path, "edge", "raise SystemExit('no port')")
    supervisor = supervise()
    failed = await supervisor.start_all([good, bad])
    assert "edge ended with code 1 while starting" in str(failed)
    assert "no port" in str(failed)
    assert (good.pid, supervisor.pids) == (None, {})
    better = child(tmp_path, "edge")
    assert await supervisor.start_all([good, better]) is None
    assert supervisor.pids == {"cloud": good.pid, "edge": better.pid}


@pytest.mark.asyncio
async def test_a_child_that_does_not_listen_is_ended_by_force(tmp_path: Path) -> None:
    part = child(tmp_path, "deaf", READY_AND_DEAF, stop_timeout=0.2)
    await part.start()
    await part.stop()
    assert part.pid is None


@pytest.mark.asyncio
async def test_a_child_that_ends_while_starting_shows_its_last_lines(tmp_path: Path) -> None:
    part = child(tmp_path, "edge", "import sys; sys.exit('port 8081 is taken')")
    with pytest.raises(StartFailed, match=r"ended with code 1 .*\n.*port 8081 is taken"):
        await part.start()


@pytest.mark.asyncio
async def test_children_do_not_outlive_a_killed_supervisor(tmp_path: Path) -> None:
    program = f"""
import asyncio, os, sys
from pathlib import Path
from edgeferry.core.clock import SystemClock
from edgeferry.tools.supervise import ChildProcess, ChildSpec
async def main():
    ready = Path(sys.argv[1])
    part = ChildProcess(ChildSpec(name="c", argv=(sys.executable, "-c", {READY_THEN_WAIT!r},
        str(ready), "c"), log=ready.with_suffix(".log"), ready_file=ready), SystemClock())
    await part.start()
    print(part.pid, flush=True)
    await part.wait()
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / "ready"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    orphan = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await until(lambda: not _runs(orphan))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
