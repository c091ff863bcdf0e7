"""Signals and exit codes are tested on real processes; the rest in the test's own loop."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeferry.core.errors import LogUnavailable
from edgeferry.runtime.background import BackgroundTask
from edgeferry.runtime.health import HealthBoard
from edgeferry.runtime.process import EXIT_DEAD, Deadlines, NotStarted, Process
from edgeferry.runtime.service import Health, Service
from tests.unit.runtime.services import Recorded

PROGRAM = Path(__file__).parent / "process_program.py"
DEADLINE_SECONDS = 30.0
NO_FOLDER = (
    "cannot use /dev/null/data: Not a directory. Make it readable and writable, free space on "
    "its disk, or choose another folder"
)


class Refusing(Recorded):
    async def start(self) -> None:
        await super().start()
        raise LogUnavailable("Kafka at 127.0.0.1:1 does not answer")


class NeverStarting(Recorded):
    async def start(self) -> None:
        await super().start()
        await asyncio.Event().wait()


class NeverStopping(Recorded):
    async def stop(self) -> None:
        await super().stop()
        await asyncio.Event().wait()


class FailingStop(Recorded):
    async def stop(self) -> None:
        await super().stop()
        raise RuntimeError("no")


async def run(
    services: Sequence[Service],
    deadlines: Deadlines | None = None,
    board: HealthBoard | None = None,
) -> int:
    """Until all have started, then a signal to stop."""

    async def build() -> Sequence[Service]:
        return services

    def on_ready() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    process = Process(HealthBoard(), deadlines or Deadlines(), on_ready)
    return await process.run(build)


@pytest.mark.asyncio
async def test_services_start_in_order_and_stop_in_reverse() -> None:
    events: list[str] = []
    assert await run([Recorded(name, events) for name in "abc"]) == 0
    assert events == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


@pytest.mark.asyncio
async def test_a_service_that_does_not_start_stops_the_others_and_is_named() -> None:
    events: list[str] = []
    with pytest.raises(NotStarted, match=r"^b did not start: Kafka at 127\.0\.0\.1:1 does not"):
        await run([Recorded("a", events), Refusing("b", events), Recorded("c", events)])
    assert events == ["start a", "start b", "stop b", "stop a"]


@pytest.mark.asyncio
async def test_a_service_that_hangs_while_starting_is_given_up() -> None:
    events: list[str] = []
    services = [Recorded("a", events), NeverStarting("b", events)]
    with pytest.raises(NotStarted, match="b did not start within 0 s"):
        await run(services, Deadlines(start=0.01, stop=0.01))
    assert events[-1] == "stop a"


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [NeverStopping, FailingStop])
async def test_a_service_that_does_not_stop_holds_up_no_other(kind: type[Recorded]) -> None:
    events: list[str] = []
    services = [Recorded("a", events), kind("b", events), Recorded("c", events)]
    assert await run(services, Deadlines(stop=0.01)) == 3
    assert events[-3:] == ["stop c", "stop b", "stop a"]


@pytest.mark.asyncio
async def test_a_process_is_ready_only_while_all_its_services_run() -> None:
    board, seen = HealthBoard(), list[bool]()

    class Looking(Recorded):
        async def start(self) -> None:
            seen.append(board.overall().ready)

        async def stop(self) -> None:
            seen.append(board.overall().ready)

    async def build() -> Sequence[Service]:
        return [Looking("a", []), Recorded("b", [])]

    def on_ready() -> None:
        seen.append(board.overall().ready)
        os.kill(os.getpid(), signal.SIGINT)

    assert await Process(board, Deadlines(), on_ready).run(build) == 0
    assert seen == [False, True, False]


class Changing(Recorded):
    """Alive as the list says, look by look, and as its last entry from then on."""

    def __init__(self, name: str, events: list[str], alive: list[bool]) -> None:
        super().__init__(name, events)
        self.alive = alive

    def health(self) -> Health:
        alive = self.alive.pop(0) if len(self.alive) > 1 else self.alive[0]
        return Health(alive, alive, "" if alive else "its loop has ended")


@pytest.mark.asyncio
async def test_a_service_that_stays_dead_ends_the_process_in_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    events: list[str] = []
    services = [Recorded("a", events), Changing("b", events, [True, False]), Recorded("c", events)]

    async def build() -> Sequence[Service]:
        return services

    process = Process(HealthBoard(), Deadlines(dead=0.03, look=0.01))
    assert await asyncio.wait_for(process.run(build), DEADLINE_SECONDS) == EXIT_DEAD
    assert events[-3:] == ["stop c", "stop b", "stop a"]
    assert "b is dead" in caplog.text
    assert "its loop has ended" in caplog.text


@pytest.mark.asyncio
async def test_a_service_that_comes_back_in_time_ends_nothing() -> None:
    flickering = Changing("a", [], [False, False, True] * 4 + [True])

    async def build() -> Sequence[Service]:
        return [flickering]

    async def stop_when_seen() -> None:
        while len(flickering.alive) > 1:
            await asyncio.sleep(0.001)
        os.kill(os.getpid(), signal.SIGTERM)

    process = Process(HealthBoard(), Deadlines(dead=0.03, look=0.01))
    async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as group:
        running = group.create_task(process.run(build))
        group.create_task(stop_when_seen())
    assert running.result() == 0


def test_the_whole_is_as_well_as_its_parts() -> None:
    board = HealthBoard()
    good, busy, dead = (
        Health(True, True),
        Health(True, False, "waits"),
        Health(False, False, "gone"),
    )
    board.watch([Recorded("a", [], health=good), Recorded("b", [], health=busy)])
    board.started(True)
    overall = board.overall()
    assert (overall.alive, overall.ready, overall.parts["b"]) == (True, False, busy)
    board.watch([Recorded("a", [], health=good), Recorded("c", [], health=dead)])
    assert not board.overall().alive


@pytest.mark.asyncio
async def test_the_end_of_a_background_task_is_noticed() -> None:
    task = BackgroundTask("loop")

    async def fail() -> None:
        raise KeyError("lost")

    async def wait_for_crash() -> None:
        while not task.crashed:
            await asyncio.sleep(0)

    task.start(fail())
    await asyncio.wait_for(wait_for_crash(), DEADLINE_SECONDS)
    assert task.crashed == "KeyError: 'lost'"
    task.start(asyncio.Event().wait())
    assert task.crashed == ""
    await task.stop()
    assert task.crashed == ""


def started(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=DEADLINE_SECONDS)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_in_order(number: signal.Signals) -> None:
    process = started("good")
    assert first_line(process) == "ready"
    process.send_signal(number)
    code, out, _ = ended(process)
    assert (code, out.split()) == (0, ["stopped"])


def test_a_second_signal_stops_at_once() -> None:
    process = started("never-stops")
    assert first_line(process) == "ready"
    process.send_signal(signal.SIGTERM)
    assert first_line(process) == "stopping"
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 128 + signal.SIGINT
    assert "stopped at once" in err


def test_a_signal_while_a_service_starts_ends_the_start() -> None:
    process = started("never-starts")
    assert first_line(process) == "starting"
    process.send_signal(signal.SIGTERM)
    code, out, _ = ended(process)
    assert (code, out.split()) == (0, ["stopped"])


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("refuses", 1, "Error: service did not start: the reason"),
        ("broken-settings", 2, "Error: the settings are wrong"),
        (
            "no-folder",
            1,
            f"Error: {NO_FOLDER}",
        ),
    ],
)
def test_the_exit_code_and_one_clear_line_say_why(how: str, code: int, said: str) -> None:
    returned, _, err = ended(started(how))
    assert (returned, err.strip()) == (code, said)
