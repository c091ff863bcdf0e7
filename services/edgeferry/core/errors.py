"""Errors told apart by who acts.

Later  our own log or store is away: back off, do not move, try the same again.
Never  this record will never pass: Failure relation or dead letter, and go on.
Stop   the program or its setting is wrong: the App stops, and says so.
"""


class EdgeferryError(Exception):
    """Root of all errors of this package."""


class Later(EdgeferryError):
    """Nobody acts but time: the caller backs off and repeats the same work."""


class Never(EdgeferryError):
    """The sender acts: the record is bad for good."""


class Refused(Never):
    """The sender asked for what it may not do: that is no sign of a fault here, so it never
    stops a processor, however many come."""


class Stop(EdgeferryError):
    """The operator acts: going on would do harm."""


class LogUnavailable(Later):
    """The log (Kafka, SQLite) does not answer or refused for now; nothing was promised."""


class AlreadyCommitted(EdgeferryError):
    """A hop was finished by another run of it: this one must leave nothing behind."""


class LogUnusable(Stop):
    """The log's file or folder cannot be used as it is; the text says what to do."""


class LogFault(EdgeferryError):
    """The log's writer failed in a way that only a mistake in this program explains; nothing
    of what it was given stands, and the process's log has the traceback."""


class StoreFault(EdgeferryError):
    """The same of the store's writer."""


class StoreUnavailable(Later):
    """The store (Cassandra, SQLite) does not answer or refused for now."""


class Undecodable(Never):
    """The bytes are not what the topic's schema says."""


class Unstorable(Never):
    """No store can ever take this value; ``index`` is the write's place in the batch, or
    None when the server refused the batch as a whole."""

    def __init__(self, reason: str, index: int | None = None) -> None:
        super().__init__(reason if index is None else f"write {index}: {reason}")
        self.index = index


class UnknownSchema(Undecodable):
    """The record names a schema id that this version does not know."""


class RecordTooLarge(Never):
    """The record is above the log's limit and can never be appended. ``topic`` and ``size``
    (key, value, headers): of that record, where the log has said which; else empty and 0."""

    def __init__(self, reason: str, topic: str = "", size: int = 0) -> None:
        super().__init__(reason)
        self.topic = topic
        self.size = size


class InvalidPayload(Never):
    """A device or client sent what the rules of section 7.1 refuse; the text says why."""


class ChangeRefused(Never):
    """A submitted change cannot be applied, now or ever: it became a dead letter. The text says
    why."""


class EntityGone(Never):
    """A submitted change came too late: its entity was deleted, or is another site's now."""


class PayloadTooLarge(InvalidPayload):
    """The payload is above the limit of this site."""


class BadInterval(Never):
    """The caller asked for steps of time that cannot be; the text says why."""


class InvalidChain(Stop):
    """A chain file is broken; ``problems`` has one line with its path for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class InvalidSettings(Stop):
    """Settings are missing or wrong; the text lists all of them and what to do."""


class StoreUnusable(Stop):
    """The store's file, folder or server cannot be used as it is; the text says what to do."""


class OffsetOutOfRange(Stop):
    """The log no longer holds what a reader still has to read: a loss to report."""
