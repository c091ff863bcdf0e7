"""One server as a process of its own, known by its folder: whoever names the folder finds it."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from edgeferry.core.errors import Later
from edgeferry.tools.servers.jars import default_cache, fetch
from edgeferry.tools.servers.launch import Kind, Launch, mark
from edgeferry.tools.servers.locked import locked
from edgeferry.tools.servers.ports import LOOPBACK, free_ports, read_ports
from edgeferry.tools.servers.requirements import find_java
from edgeferry.tools.supervise import StartFailed, die_with_parent, wake_seldom

_POLL_SECONDS = 0.1
_TIMER_SLACK_NS = 500_000
"""Cassandra's idle workers look for work every 10 us and more often than the kernel's usual
50 us let them: a third of the CPU of a small write remains with this, at the same latency."""

_WATCH_SECONDS = 0.2
_ANSWER_SECONDS = 10.0
_SAID_LINES = 20
_UNUSABLE = set(',:"\\\n')


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """``tied``: the server is killed when this process ends in any way; then ``start`` must be
    awaited in the main thread, as Linux ties it to the thread. Times in seconds."""

    cache: Path = field(default_factory=default_cache)
    tied: bool = False
    say: Callable[[str], None] = lambda line: None
    start_timeout: float = 120.0
    stop_timeout: float = 30.0


class LocalServer:
    """A server in a data folder (``supervise.Part``). It may already run, started by another
    process: then ``start`` only waits until it answers, and ``stop`` stops that one."""

    def __init__(self, kind: Kind, data: Path, options: ServerOptions) -> None:
        self._kind = kind
        self._options = options
        self._folder = data.resolve() / kind.name
        self._logs = data.resolve() / "logs"
        self._out = self._logs / f"{kind.name}.out"
        self._ports_file = self._folder / "ports.json"
        self._pid_file = self._folder / "pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._logged_before = 0

    @property
    def name(self) -> str:
        return self._kind.name

    @property
    def log(self) -> Path:
        return self._logs / f"{self.name}.log"

    @property
    def address(self) -> str | None:
        """host:port for clients; None before the first start in this folder."""
        ports = read_ports(self._ports_file)
        return f"{LOOPBACK}:{ports[self._kind.ports[0]]}" if ports else None

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        process = self._find()
        return process.pid if process is not None else None

    async def start(self) -> None:
        """Start it unless it runs; return when it answers. Raises StartFailed."""
        ours = False
        try:
            async with locked(self._folder / "lock"):
                if self._find() is None:
                    await self._prepare_and_spawn()
                    ours = True
            await self._until_it_answers()
        except BaseException:
            if ours:
                await self.stop()
            raise

    async def wait(self) -> int:
        """Return its exit code when it has ended, 0 when it was started by another process."""
        process = self._find()
        if process is not None:
            await self._until_ended(process)
        return (self._process.returncode or 0) if self._process is not None else 0

    async def stop(self) -> None:
        """End it in order, by force when it does not listen."""
        process = self._find()
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            try:
                async with asyncio.timeout(self._options.stop_timeout):
                    await self._until_ended(process)
            except TimeoutError:
                process.kill()
                await self._until_ended(process)
        self._pid_file.unlink(missing_ok=True)

    async def answers(self) -> bool:
        """Whether it answers a request now."""
        ports = read_ports(self._ports_file)
        if ports is None:
            return False
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._kind.ask(LOOPBACK, ports[self._kind.ports[0]])
        except (OSError, Later):
            return False
        return True

    def _find(self) -> psutil.Process | None:
        own = self._process
        try:
            if own is not None and own.poll() is None:
                return psutil.Process(own.pid)
            process = psutil.Process(int(self._pid_file.read_text()))
            # a pid is given again to others: only the folder in its arguments makes it ours
            if mark(self._folder) in process.cmdline():
                return process
        except (FileNotFoundError, ValueError, psutil.Error):
            pass
        return None

    async def _until_ended(self, process: psutil.Process) -> None:
        while self._runs(process):
            await asyncio.sleep(_WATCH_SECONDS)

    def _runs(self, process: psutil.Process) -> bool:
        # a process that is ending has no arguments any more, and still holds its ports
        own = self._process
        if own is not None and own.pid == process.pid:
            return own.poll() is None
        try:
            ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
            return process.is_running() and not ended
        except psutil.NoSuchProcess:
            return False

    async def _prepare_and_spawn(self) -> None:
        if _UNUSABLE & set(str(self._folder)):
            raise StartFailed(
                f'{self._folder}: the path of a data folder must not contain , : " or \\'
            )
        java = await asyncio.to_thread(find_java)
        jars = await fetch(self.name, self._kind.title, self._options.cache, self._options.say)
        self._logs.mkdir(exist_ok=True)
        launch = Launch(
            java=java,
            jars=jars,
            folder=self._folder,
            logs=self._logs,
            ports=free_ports(self._ports_file, self._kind.ports),
            heap=self._kind.heap,
        )
        first = self._kind.first_start(launch)
        if first is not None:
            await self._run(first)
        self._logged_before = self.log.stat().st_size if self.log.exists() else 0
        self._process = self._spawn(self._kind.command(launch))
        self._pid_file.write_text(f"{self._process.pid}\n")

    async def _run(self, command: list[str]) -> None:
        process = self._spawn(command)
        try:
            while process.poll() is None:
                await asyncio.sleep(_POLL_SECONDS)
        except asyncio.CancelledError:
            process.kill()
            process.wait()
            raise
        if process.returncode:
            raise self._failed(f"could not be set up (code {process.returncode})")

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._out.open("wb") as out:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C reaches us alone
                preexec_fn=self._before_exec(),
            )

    def _before_exec(self) -> Callable[[], None]:
        slack = wake_seldom(_TIMER_SLACK_NS)
        tied = die_with_parent(os.getpid()) if self._options.tied else None

        def apply() -> None:
            slack()
            if tied is not None:
                tied()

        return apply

    async def _until_it_answers(self) -> None:
        try:
            async with asyncio.timeout(self._options.start_timeout):
                while not await self.answers():
                    if self._find() is None:
                        raise self._failed("ended while it was starting")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise self._failed(
                f"did not answer within {self._options.start_timeout:.0f} s"
            ) from error

    def _failed(self, what: str) -> StartFailed:
        said = [*_lines(self._out), *_lines(self.log, self._logged_before)][-_SAID_LINES:]
        return StartFailed("\n".join((f"{self._kind.title} {what}; its log is {self.log}", *said)))


def _lines(file: Path, start: int = 0) -> list[str]:
    if not file.exists():
        return []
    with file.open("rb") as opened:
        opened.seek(start)
        return opened.read().decode(errors="replace").splitlines()
