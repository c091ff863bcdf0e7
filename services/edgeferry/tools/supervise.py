"""Keeps the parts of a local installation running: starts them in order, restarts one that
died, stops all in reverse order; none outlives this process."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgeferry.core.clock import Clock
from edgeferry.core.errors import EdgeferryError, Stop

_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29
_FIRST_BACKOFF = 0.5
_MAX_BACKOFF = 30.0
_STEADY_SECONDS = 10.0
_POLL_SECONDS = 0.01
_LOG_LINES = 15


class StartFailed(Stop):
    """A part ended or stayed silent while it was starting; the text has its last lines."""


class Part(Protocol):
    """Something with a process of its own."""

    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        ...

    async def start(self) -> None:
        """Return when it is ready for work. Raises StartFailed."""
        ...

    async def wait(self) -> int:
        """Return its exit code when it has ended."""
        ...

    async def stop(self) -> None:
        """End it in order, by force when it does not listen."""
        ...


def die_with_parent(parent: int) -> Callable[[], None]:
    """For ``preexec_fn``: the child gets SIGKILL when ``parent`` (our pid) ends in any way."""
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)

    def apply() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return apply


def wake_seldom(nanoseconds: int) -> Callable[[], None]:
    """For ``preexec_fn``: the child's short sleeps may take so much longer (Linux only)."""
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None, use_errno=True)
    return lambda: libc.prctl(_PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0) and None


def last_lines(path: Path, count: int = _LOG_LINES) -> str:
    with contextlib.suppress(FileNotFoundError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-count:])
    return ""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child process. It is ready when it has written ``ready_file``. Times in seconds."""

    name: str
    argv: Sequence[str]
    log: Path
    ready_file: Path
    env: Mapping[str, str] = field(default_factory=dict)
    start_timeout: float = 60.0
    stop_timeout: float = 15.0


class ChildProcess:
    """A ``Part`` that is a program of ours."""

    def __init__(self, spec: ChildSpec, clock: Clock) -> None:
        self._spec = spec
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        spec = self._spec
        spec.ready_file.unlink(missing_ok=True)
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **spec.env},
                start_new_session=True,  # Ctrl-C reaches us alone; we stop all in order
                preexec_fn=die_with_parent(os.getpid()),
            )
        deadline = self._clock.monotonic() + spec.start_timeout
        while not spec.ready_file.exists():
            if self._process.returncode is not None:
                raise StartFailed(
                    f"{spec.name} ended with code {self._process.returncode} while starting; "
                    f"its log {spec.log} ends with:\n{last_lines(spec.log)}"
                )
            if self._clock.monotonic() > deadline:
                await self.stop()
                raise StartFailed(
                    f"{spec.name} was not ready after {spec.start_timeout:.0f} s; "
                    f"its log {spec.log} ends with:\n{last_lines(spec.log)}"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def wait(self) -> int:
        return await self._process.wait() if self._process is not None else 0

    async def stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._spec.stop_timeout):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class Supervisor:
    """``say`` gets one line for the operator per event; ``changed`` is called after each
    start, as process ids have changed."""

    def __init__(
        self,
        clock: Clock,
        say: Callable[[str], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._say = say
        self._changed = changed
        self._parts: list[Part] = []
        self._watchers: dict[str, asyncio.Task[None]] = {}

    @property
    def pids(self) -> dict[str, int]:
        """By name, the first started first."""
        return {part.name: part.pid for part in self._parts if part.pid is not None}

    async def start(self, part: Part) -> None:
        """Start a part and keep it running from now on. Raises StartFailed."""
        self._parts.append(part)
        await part.start()
        self._watchers[part.name] = asyncio.create_task(
            self._watch(part), name=f"watch {part.name}"
        )
        self._changed()

    async def start_all(self, parts: Sequence[Part]) -> StartFailed | None:
        """Start them at the same time. When one fails none of them is left, and that failure
        is returned: another try may follow."""
        results = await asyncio.gather(*map(self.start, parts), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        if not errors:
            return None
        for part in reversed(parts):
            await self._end(part)
        for error in errors:
            if not isinstance(error, StartFailed):
                raise error
        return errors[0] if isinstance(errors[0], StartFailed) else None

    async def stop(self) -> None:
        """Stop all, the last started first."""
        for part in reversed(list(self._parts)):
            await self._end(part)

    async def _end(self, part: Part) -> None:
        watcher = self._watchers.pop(part.name, None)
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        await part.stop()
        if part in self._parts:
            self._parts.remove(part)

    async def _watch(self, part: Part) -> None:
        """Nothing that this machine lacks for a while (files, space, processes) ends it."""
        backoff = _FIRST_BACKOFF
        while True:
            since = self._clock.monotonic()
            try:
                ending = _ending(await part.wait())
            except OSError as error:
                ending = f"cannot be watched ({error})"
            if self._clock.monotonic() - since > _STEADY_SECONDS:
                backoff = _FIRST_BACKOFF
            self._tell(f"{part.name} {ending}; starting it again in {backoff:g} s")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _MAX_BACKOFF)
            try:
                await part.start()
                self._tell(f"{part.name} runs again (process {part.pid})")
                self._changed()
            except EdgeferryError as error:
                self._tell(str(error))
            except OSError as error:
                self._tell(f"{part.name}: {error}")

    def _tell(self, line: str) -> None:
        """Where stderr is a file, its disk may be full."""
        with contextlib.suppress(OSError):
            self._say(line)


def _ending(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
