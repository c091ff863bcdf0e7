"""One process: services started in order, stopped in reverse order, in one event loop.

Exit codes: 0 stopped by a signal, 1 a service did not start, 2 settings or chains are
wrong, 3 a service did not stop in time, 4 a service was dead and a new process is wanted,
130 or 143 stopped at once by a second signal.
"""

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import uvloop

from edgeferry.core.errors import EdgeferryError, InvalidChain, InvalidSettings, Stop
from edgeferry.runtime.file_limit import raise_file_limit
from edgeferry.runtime.file_problem import file_problem
from edgeferry.runtime.health import HealthBoard
from edgeferry.runtime.service import Service

EXIT_NOT_STARTED = 1
EXIT_INVALID = 2
EXIT_NOT_STOPPED = 3
EXIT_DEAD = 4
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)


class NotStarted(Stop):
    """A service could not start; the operator acts. The text names it and its reason."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that one service may take; that it may be dead without a break before the
    process ends, and between two looks at that."""

    start: float = 120.0
    stop: float = 10.0
    dead: float = 30.0
    look: float = 5.0


def run_process(
    build: Callable[[], Awaitable[Sequence[Service]]],
    board: HealthBoard,
    *,
    deadlines: Deadlines | None = None,
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Build the services inside the loop and run them until a signal, or until one of them
    is dead for good. Returns an exit code.

    on_ready: called once all have started. Errors that the operator can mend are printed on
    stderr without a trace."""
    raise_file_limit()
    process = Process(board, deadlines or Deadlines(), on_ready)
    try:
        return uvloop.run(process.run(build))
    except (InvalidSettings, InvalidChain) as error:
        _say(f"Error: {error}")
        return EXIT_INVALID
    except EdgeferryError as error:
        _say(f"Error: {error}")
        return EXIT_NOT_STARTED
    except OSError as error:
        problem = file_problem(error)
        if problem is None:
            raise
        _say(f"Error: {problem}")
        return EXIT_NOT_STARTED


class Process:
    """See ``run_process``. One use each."""

    def __init__(
        self,
        board: HealthBoard,
        deadlines: Deadlines,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._board = board
        self._deadlines = deadlines
        self._on_ready = on_ready
        self._stopping = asyncio.Event()

    async def run(self, build: Callable[[], Awaitable[Sequence[Service]]]) -> int:
        """Raises NotStarted (after stopping what had started) and what ``build`` raises."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_unhandled)
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            services = await build()
            self._board.watch(services)
            return await self._run(services)
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def _run(self, services: Sequence[Service]) -> int:
        begun: list[Service] = []
        dead = False
        try:
            for service in services:
                begun.append(service)
                if not await self._start(service):
                    break
            else:
                self._board.started(True)
                spare_the_collector()
                let_threads_in()
                if self._on_ready is not None:
                    self._on_ready()
                dead = await self._until_dead()
        finally:
            self._board.started(False)
            late = [service.name for service in reversed(begun) if not await self._stop(service)]
        if dead:
            return EXIT_DEAD
        return EXIT_NOT_STOPPED if late else 0

    async def _until_dead(self) -> bool:
        """False when a signal came first. Looks are counted, not seconds: a loop that stood
        still has not seen a service dead all that time."""
        enough = math.ceil(self._deadlines.dead / self._deadlines.look)
        looks: dict[str, int] = {}
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._deadlines.look)
                return False
            try:
                parts = self._board.overall().parts
            except Exception:
                log.exception("the health of the services cannot be told")
                continue
            looks = {name: looks.get(name, 0) + 1 for name in parts if not parts[name].alive}
            gone = [name for name, count in looks.items() if count >= enough]
            for name in gone:
                log.error(
                    "%s is dead, ending so that a new process takes over: %s",
                    name,
                    parts[name].detail or "it gives no reason",
                )
            if gone:
                return True

    async def _start(self, service: Service) -> bool:
        """False when a signal came first. Raises NotStarted."""
        starting = asyncio.ensure_future(service.start())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait(
                (starting, stopping),
                timeout=self._deadlines.start,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not starting.done():
                starting.cancel()
                await asyncio.wait((starting,), timeout=self._deadlines.stop)
                if self._stopping.is_set():
                    return False
                raise NotStarted(
                    f"{service.name} did not start within {self._deadlines.start:.0f} s"
                )
            starting.result()
        except (EdgeferryError, OSError) as error:
            if isinstance(error, NotStarted | InvalidSettings | InvalidChain):
                raise
            raise NotStarted(f"{service.name} did not start: {error}") from error
        finally:
            stopping.cancel()
        log.info("%s started", service.name)
        return True

    async def _stop(self, service: Service) -> bool:
        """Also stops what is half started. False when it did not stop in time."""
        try:
            await asyncio.wait_for(service.stop(), self._deadlines.stop)
        except TimeoutError:
            log.error("%s did not stop within %.0f s", service.name, self._deadlines.stop)
            return False
        except Exception:
            log.exception("%s failed while stopping", service.name)
            return False
        log.info("%s stopped", service.name)
        return True

    def _on_signal(self, number: int) -> None:
        if self._stopping.is_set():
            _say("stopped at once: what was begun is repeated at the next start")
            os._exit(128 + number)
        log.info("%s: stopping", signal.Signals(number).name)
        self._stopping.set()


def spare_the_collector() -> None:
    """What stands now stays; and a batch makes thousands of objects that die by reference
    count. With Python's defaults a sixth of a rule node's CPU went to looking at them."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def let_threads_in() -> None:
    """The writer threads of log and store want the interpreter a dozen times for each
    transaction; with Python's default each time waits up to 5 ms behind a busy loop."""
    sys.setswitchinterval(0.0005)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    log.error(
        "event loop: %s",
        context.get("message", "unhandled error"),
        exc_info=error if isinstance(error, BaseException) else None,
    )
