"""What every benchmark ends with: one JSON object. A figure that was not measured is
absent, never 0."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below ``share`` of all. ``values`` is not empty."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class CpuMeter:
    """CPU seconds (user + system) of roles since this was made.

    roles: name -> process id. A role that had a process which ended unseen is left out."""

    def __init__(self, roles: Mapping[str, int]) -> None:
        self._processes = {role: psutil.Process(pid) for role, pid in roles.items()}
        self._before = {role: _cpu(process) for role, process in self._processes.items()}
        self._ended: dict[str, float] = {}

    def ending(self, role: str) -> None:
        """To be called right before the process of a role is killed: it still counts."""
        used = self.seconds().get(role)
        if used is not None:
            self._ended[role] = used
            del self._processes[role]

    def follow(self, roles: Mapping[str, int]) -> None:
        """The processes of now: one that took the place of an ``ending`` one counts from
        its birth."""
        for role in self._ended.keys() & roles.keys() - self._processes.keys():
            with contextlib.suppress(psutil.NoSuchProcess):
                self._processes[role] = psutil.Process(roles[role])
                self._before[role] = 0.0

    def seconds(self) -> dict[str, float]:
        found = dict(self._ended)
        for role, process in self._processes.items():
            try:
                used = _cpu(process) - self._before[role]
            except psutil.NoSuchProcess:
                found.pop(role, None)
            else:
                found[role] = round(found.get(role, 0.0) + used, 3)
        return found


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def machine_load() -> float:
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 2)


@dataclass(slots=True)
class Report:
    """``stands_on``: the logs and stores that were measured; ``figures`` are the benchmark's
    own; None leaves a figure out."""

    name: str
    stands_on: Mapping[str, object] = field(default_factory=dict)
    figures: dict[str, object] = field(default_factory=dict)
    load_start: float = field(default_factory=machine_load)

    def add(self, **figures: object) -> None:
        self.figures.update(figures)

    def add_latency(self, milliseconds: Sequence[float]) -> None:
        if milliseconds:
            self.add(
                p50_ms=round(quantile(milliseconds, 0.50), 2),
                p99_ms=round(quantile(milliseconds, 0.99), 2),
                latency_samples=len(milliseconds),
            )

    def line(self) -> dict[str, object]:
        return {
            "name": self.name,
            **self.stands_on,
            **{name: figure for name, figure in self.figures.items() if figure is not None},
            "cores": os.cpu_count(),
            "load": {"start": self.load_start, "end": machine_load()},
        }
