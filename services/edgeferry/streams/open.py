"""The Faust transport that goes with a site's log."""

from edgeferry.core.record import TransactionalWriter
from edgeferry.log.port import Log
from edgeferry.streams.transport import LogTransport


def open_transport(log: Log, slot: str | None) -> tuple[LogTransport, TransactionalWriter | None]:
    """And the writer of its transactions, where it has them. ``slot``: this process's name
    among its replicas; a SQLite log has none."""
    if log.kind == "kafka":
        from edgeferry.log.kafka_log import KafkaLog
        from edgeferry.streams.kafka_transport import KafkaTransport

        assert isinstance(log, KafkaLog)
        return KafkaTransport(log.bootstrap, slot), None
    from edgeferry.log.sqlite import SqliteLog
    from edgeferry.streams.sqlite_transport import SqliteTransport

    assert isinstance(log, SqliteLog)
    return SqliteTransport(log), log
