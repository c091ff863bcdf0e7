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
    dead_letter_events: Counter
    held_schema: Gauge

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

    def dead(self, events: int) -> None:
        """So many received events could not be kept as they are."""
        self.dead_letter_events.inc(events)

    def held_by_schema(self, schema_id: int | None) -> None:
        """The lane waits until the other side knows this schema."""
        self.held_schema.set(schema_id or 0)


class TotalCounter:
    """A counter that follows a total kept elsewhere, over restarts too."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._shown = 0

    def reach(self, total: int) -> None:
        """A total that was corrected downward is shown again once it has grown beyond."""
        if total > self._shown:
            self._counter.inc(total - self._shown)
            self._shown = total


@dataclass(frozen=True, slots=True)
class OutboxMetrics:
    """What of a lane waits at the side that sends it. Totals, not increments."""

    bytes: Gauge
    cap_ratio: Gauge
    dropped_events: TotalCounter
    refused_messages: TotalCounter
    lost_events: TotalCounter

    def size(self, size: int, cap_ratio: float) -> None:
        """Bytes that wait, and how full that is (1: full; 0 where there is no cap)."""
        self.bytes.set(size)
        self.cap_ratio.set(cap_ratio)

    def dropped(self, total: int) -> None:
        self.dropped_events.reach(total)

    def refused(self, total: int) -> None:
        self.refused_messages.reach(total)

    def lost(self, total: int) -> None:
        """The other side was told of so many as lost."""
        self.lost_events.reach(total)


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

        self._http_away = counter(
            "http_turned_away", "HTTP connections closed because there were too many."
        )

        self._lane_dead = counter(
            "sync_dead_letters",
            "Events set aside here: received and too large for this log, or not fit to be sent.",
            lane,
        )
        self._lane_held = gauge(
            "sync_held_by_schema", "Id of a schema that the other side must learn first.", lane
        )
        self._repeats = counter(
            "sync_repeated_events", "Received events that the intake had seen already."
        )
        self._late_changes = counter(
            "late_changes", "Changes of attributes that came after their entity was gone from here."
        )
        self._outbox_bytes = gauge(
            "outbox_bytes", "Of events not acknowledged: keys, values, headers.", lane
        )
        self._outbox_ratio = gauge(
            "outbox_cap_ratio", "How full: 1 is full, 0 without a cap.", lane
        )
        self._outbox_dropped = counter(
            "outbox_dropped_events", "Events deleted unacknowledged, ever.", lane
        )
        self._outbox_refused = counter(
            "outbox_refused_messages", "Messages of devices refused for lack of room.", lane
        )
        self._outboxes: dict[str, OutboxMetrics] = {}
        self._disk_free = gauge("disk_free_bytes", "Free for us where the data folder is.")

        self._sync_connected = gauge("sync_connected", "Sessions of the sync link that live.")
        self._sending_all = gauge(
            "sync_sending_all", "Sites that are sent everything again because a store was lost."
        )
        self._store_lost = counter(
            "store_lost", "Times that the store was found to be new, another, or an older copy."
        )
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

        down = ("edge", "lane")
        self._queue_lost = counter(
            "edge_queue_lost_events", "Events gone from the Edge queue before the Edge had them.",
            down,
        )  # fmt: skip
        self._queue_waiting = gauge(
            "edge_queue_events", "Events in the Edge queue that the Edge has not.", down
        )
        self._queues: dict[tuple[str, str], TotalCounter] = {}

    def edge_queue(self, edge_id: str, lane: str, waiting: int, lost: int) -> None:
        """Of an edge's lane down. ``lost``: in all."""
        at = (edge_id, lane)
        if at not in self._queues:
            self._queues[at] = TotalCounter(self._queue_lost.labels(*at))
        self._queues[at].reach(lost)
        self._queue_waiting.labels(*at).set(waiting)

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

    def http_turned_away(self) -> None:
        """A connection was closed because there were too many."""
        self._http_away.inc()

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
            dead_letter_events=self._lane_dead.labels(lane),
            held_schema=self._lane_held.labels(lane),
        )

    def outbox(self, lane: str) -> OutboxMetrics:
        """Of the side that sends the lane."""
        if lane not in self._outboxes:
            self._outboxes[lane] = OutboxMetrics(
                bytes=self._outbox_bytes.labels(lane),
                cap_ratio=self._outbox_ratio.labels(lane),
                dropped_events=TotalCounter(self._outbox_dropped.labels(lane)),
                refused_messages=TotalCounter(self._outbox_refused.labels(lane)),
                lost_events=TotalCounter(self._lane_lost.labels(lane)),
            )
        return self._outboxes[lane]

    def repeated(self, events: int) -> None:
        """So many more events that the intake let not pass again."""
        self._repeats.inc(events)

    def late_changes(self, count: int) -> None:
        """So many more changes of attributes came after their entity was deleted, or was taken
        from this edge."""
        self._late_changes.inc(count)

    def disk_free(self, size: int) -> None:
        self._disk_free.set(size)

    def sync_connected(self, sessions: int) -> None:
        """At an Edge 0 or 1, in the Cloud the edges connected to this process."""
        self._sync_connected.set(sessions)

    def sending_all(self, sites: int) -> None:
        """At an Edge 0 or 1, in the Cloud so many edges."""
        self._sending_all.set(sites)

    def store_lost(self) -> None:
        self._store_lost.inc()

    def text(self) -> bytes:
        """The Prometheus text format (``CONTENT_TYPE``)."""
        return generate_latest(self._registry)
