"""Every metric of a process, named here once with what it means (the gateway's own, which
are few and its alone, in ``gateway.metrics``).

``Metrics`` is built once per process and passed in. Hot paths hold an object with its
labels already resolved and make one call per batch.
"""

from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_AGE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86400.0)
_ROWS = (1, 5, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_BYTES = (1_000, 5_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000)


@dataclass(frozen=True, slots=True)
class NodeMetrics:
    """One processor's (``streams.worker.NodeMetrics``)."""

    records_in: Counter
    records_out: Counter
    batch_seconds: Histogram
    age_seconds: Histogram
    retries: Counter
    dead_letters: Counter
    lag_records: Gauge

    def batch(self, records_in: int, records_out: int, seconds: float, age_seconds: float) -> None:
        """A batch is done; ``age_seconds`` from its last record's timestamp."""
        self.records_in.inc(records_in)
        self.records_out.inc(records_out)
        self.batch_seconds.observe(seconds)
        self.age_seconds.observe(age_seconds)

    def retried(self) -> None:
        self.retries.inc()

    def dead(self, count: int) -> None:
        self.dead_letters.inc(count)

    def lag(self, records: int) -> None:
        self.lag_records.set(records)


@dataclass(frozen=True, slots=True)
class StoreMetrics:
    """One store's (``store.metrics.StoreMetrics``)."""

    rows: Counter
    batch_rows: Histogram
    batch_bytes: Histogram
    batch_seconds: Histogram
    future: Counter
    full: Counter
    refused: Counter

    def observe_batch(self, rows: int, size: int, seconds: float) -> None:
        """A batch became durable: its rows, bytes (0 where unknown), and its seconds."""
        self.rows.inc(rows)
        self.batch_rows.observe(rows)
        if size:
            self.batch_bytes.observe(size)
        self.batch_seconds.observe(seconds)

    def future_ts(self, count: int) -> None:
        """Values too far ahead of the clock went to history only."""
        self.future.inc(count)

    def latest_full(self, count: int) -> None:
        """Corrections of one millisecond beyond what latest can tell apart were left out."""
        self.full.inc(count)

    def batch_refused(self) -> None:
        """The server refused a batch's size; it was split."""
        self.refused.inc()


@dataclass(frozen=True, slots=True)
class LaneMetrics:
    """One lane of the sync link, at the side that sends it or the side that takes it."""

    depth: Gauge
    oldest_seconds: Gauge
    in_flight_batches: Gauge
    acked_events: Counter
    received_events: Counter
    lost_events: Counter

    def backlog(self, depth: int, oldest_age_seconds: float) -> None:
        """Events that wait to be acknowledged, and the age of the oldest (0: none)."""
        self.depth.set(depth)
        self.oldest_seconds.set(oldest_age_seconds)

    def in_flight(self, batches: int) -> None:
        self.in_flight_batches.set(batches)

    def acked(self, events: int) -> None:
        """So many more events are durable at the other side."""
        self.acked_events.inc(events)

    def received(self, events: int) -> None:
        """So many more events are durable here."""
        self.received_events.inc(events)

    def lost(self, events: int) -> None:
        """The sender's log no longer held so many events: a loss to look into."""
        self.lost_events.inc(events)


class Metrics:
    """Makes all metrics in ``registry``; the methods give them with their labels set."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # doubles the series
        self._registry = registry
        ProcessCollector(registry=registry)
        node, lane, store = ("chain", "node"), ("lane",), ("store",)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"edgeferry_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"edgeferry_{name}", text, labels, registry=registry)

        def histogram(
            name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
        ) -> Histogram:
            return Histogram(f"edgeferry_{name}", text, labels, buckets=buckets, registry=registry)

        self._node_in = counter("node_records_in", "Records a node is done with.", node)
        self._node_out = counter("node_records_out", "Records a node made.", node)
        self._node_seconds = histogram(
            "node_batch_seconds", "From a batch's begin to durable outputs.", node, _BATCH_SECONDS
        )
        self._node_age = histogram(
            "node_age_seconds", "From a record's entry in the topic to done.", node, _AGE_SECONDS
        )
        self._node_retries = counter(
            "node_retries", "Times a node backed off: log or store were away.", node
        )
        self._node_dead = counter("node_dead_letters", "Records set aside for good.", node)
        self._node_lag = gauge("node_lag_records", "Records a node still has to read.", node)

        self._node_ended = counter(
            "node_ended_messages",
            "Messages that a node let go by a relation that the chain wires to nothing.",
            ("chain", "node", "relation"),
        )

        self._store_rows = counter("store_rows", "Rows made durable.", store)
        self._store_batch_rows = histogram("store_batch_rows", "Rows per batch.", store, _ROWS)
        self._store_batch_bytes = histogram("store_batch_bytes", "Bytes per batch.", store, _BYTES)
        self._store_seconds = histogram(
            "store_batch_seconds", "From a batch's request to durable.", store, _BATCH_SECONDS
        )
        self._store_future = counter(
            "store_future_ts", "Values ahead of the clock: kept in history only.", store
        )
        self._store_full = counter(
            "store_latest_full", "Corrections of one millisecond left out of latest.", store
        )
        self._store_refused = counter(
            "store_batch_refused", "Batches that the server found too large; split.", store
        )

        self._sync_connected = gauge("sync_connected", "Sessions of the sync link that live.")
        self._lane_depth = gauge("outbox_depth_events", "Events not acknowledged yet.", lane)
        self._lane_oldest = gauge(
            "outbox_oldest_seconds", "Age of the oldest event not acknowledged.", lane
        )
        self._lane_in_flight = gauge("sync_in_flight_batches", "Batches under way.", lane)
        self._lane_acked = counter(
            "sync_acked_events", "Events sent and durable at the other side.", lane
        )
        self._lane_received = counter(
            "sync_received_events", "Events received and durable here.", lane
        )
        self._lane_lost = counter(
            "sync_lost_events", "Events gone from the sender's log before they were sent.", lane
        )

    def node(self, chain: str, node: str) -> NodeMetrics:
        return NodeMetrics(
            records_in=self._node_in.labels(chain, node),
            records_out=self._node_out.labels(chain, node),
            batch_seconds=self._node_seconds.labels(chain, node),
            age_seconds=self._node_age.labels(chain, node),
            retries=self._node_retries.labels(chain, node),
            dead_letters=self._node_dead.labels(chain, node),
            lag_records=self._node_lag.labels(chain, node),
        )

    def ended(self, chain: str, node: str, relation: str, count: int) -> None:
        """So many more messages left by a relation that the chain wires to nothing."""
        self._node_ended.labels(chain, node, relation).inc(count)

    def store(self, kind: str) -> StoreMetrics:
        """``kind``: sqlite or cassandra."""
        return StoreMetrics(
            rows=self._store_rows.labels(kind),
            batch_rows=self._store_batch_rows.labels(kind),
            batch_bytes=self._store_batch_bytes.labels(kind),
            batch_seconds=self._store_seconds.labels(kind),
            future=self._store_future.labels(kind),
            full=self._store_full.labels(kind),
            refused=self._store_refused.labels(kind),
        )

    def lane(self, lane: str) -> LaneMetrics:
        """``lane``: the topic's name without its site, e.g. cloud-events-ts."""
        return LaneMetrics(
            depth=self._lane_depth.labels(lane),
            oldest_seconds=self._lane_oldest.labels(lane),
            in_flight_batches=self._lane_in_flight.labels(lane),
            acked_events=self._lane_acked.labels(lane),
            received_events=self._lane_received.labels(lane),
            lost_events=self._lane_lost.labels(lane),
        )

    def sync_connected(self, sessions: int) -> None:
        """At an Edge 0 or 1, in the Cloud the edges connected to this process."""
        self._sync_connected.set(sessions)

    def text(self) -> bytes:
        """The Prometheus text format (``CONTENT_TYPE``)."""
        return generate_latest(self._registry)
