"""What the runner asks of a log's Faust transport."""

from collections.abc import Mapping
from typing import Any, Protocol


class LogTransport(Protocol):
    """Chosen by the site's log; one for all Apps of a process."""

    @property
    def url(self) -> str:
        """Faust's broker URL."""
        ...

    def register(self) -> None:
        """Make Faust know the URL's scheme."""
        ...

    def app_settings(self, group: str) -> Mapping[str, Any]:
        """Settings of the Faust App that only this log has."""
        ...


class LogConsumer(Protocol):
    """What the runner asks of an App's consumer: ``BatchDelivery`` and, per log, the rest."""

    deliveries: int
    """Batches since it began."""

    lost_records: int
    """Deleted before they were read."""

    def in_progress(self) -> bool:
        """The runner has a batch in hand."""
        ...

    def answered_since(self, since_ms: int) -> bool:
        """The log answered a fetch after ``since_ms`` (wall time), or none was needed."""
        ...

    def lag(self) -> int | None:
        """Records that are not done; None while it is not known."""
        ...
