"""What a store tells about its work; the runtime hangs its metrics behind it."""

from typing import Protocol


class StoreMetrics(Protocol):
    def observe_batch(self, rows: int, size: int, seconds: float) -> None:
        """A batch became durable: its rows, bytes (0 where unknown) and how long it took."""
        ...

    def future_ts(self, count: int) -> None:
        """Values too far ahead of the clock went to history only."""
        ...

    def latest_full(self, count: int) -> None:
        """Corrections of one millisecond beyond what latest can tell apart were left out."""
        ...

    def batch_refused(self) -> None:
        """The server refused a batch's size; it was split."""
        ...


class NoMetrics:
    """Counts nothing."""

    def observe_batch(self, rows: int, size: int, seconds: float) -> None:
        pass

    def future_ts(self, count: int) -> None:
        pass

    def latest_full(self, count: int) -> None:
        pass

    def batch_refused(self) -> None:
        pass
