"""What the gateway counts."""

from typing import Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Transport = Literal["mqtt", "http"]

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)


class GatewayMetrics(Protocol):
    def received(self, transport: Transport, payloads: int, size: int) -> None:
        """Payloads that were understood, and their bytes."""
        ...

    def rejected(self, transport: Transport, reason: str) -> None:
        """A payload, a connection or a whole session was refused, for a word's reason."""
        ...

    def slowed(self) -> None:
        """A connection is not read for a while, as its messages come too fast."""
        ...

    def dead_lettered(self, reason: str) -> None:
        """A payload became a dead letter, as its sender could not be told."""
        ...

    def connections(self, change: int) -> None:
        """MQTT connections opened (+1) or closed (-1)."""
        ...

    def appended(self, records: int, seconds: float) -> None:
        """A group of records became durable after this long."""
        ...

    def log_retried(self) -> None:
        """The log did not take a group, which will be tried again."""
        ...


class PrometheusGatewayMetrics:
    """``GatewayMetrics`` in a Prometheus registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        payloads = Counter(
            "edgeferry_gateway_payloads",
            "Payloads from devices that were understood",
            ["transport"],
            registry=registry,
        )
        size = Counter(
            "edgeferry_gateway_payload_bytes",
            "Bytes of payloads from devices that were understood",
            ["transport"],
            registry=registry,
        )
        transports: tuple[Transport, ...] = ("mqtt", "http")
        self._payloads = {name: payloads.labels(name) for name in transports}
        self._bytes = {name: size.labels(name) for name in transports}
        self._rejected = Counter(
            "edgeferry_gateway_rejected",
            "Payloads and sessions that were refused",
            ["transport", "reason"],
            registry=registry,
        )
        self._slowed = Counter(
            "edgeferry_gateway_slowed",
            "Times that a connection was not read as its messages came too fast",
            registry=registry,
        )
        self._dead_letters = Counter(
            "edgeferry_gateway_dead_letters",
            "Payloads that became dead letters",
            ["reason"],
            registry=registry,
        )
        self._connections = Gauge(
            "edgeferry_gateway_connections", "Open MQTT connections", registry=registry
        )
        self._records = Counter(
            "edgeferry_gateway_records", "Records made durable in the log", registry=registry
        )
        self._latency = Histogram(
            "edgeferry_gateway_append_seconds",
            "Time until a group of records is durable",
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self._retries = Counter(
            "edgeferry_gateway_append_retries",
            "Groups of records that the log did not take at once",
            registry=registry,
        )

    def received(self, transport: Transport, payloads: int, size: int) -> None:
        self._payloads[transport].inc(payloads)
        self._bytes[transport].inc(size)

    def rejected(self, transport: Transport, reason: str) -> None:
        self._rejected.labels(transport, reason).inc()

    def slowed(self) -> None:
        self._slowed.inc()

    def dead_lettered(self, reason: str) -> None:
        self._dead_letters.labels(reason).inc()

    def connections(self, change: int) -> None:
        self._connections.inc(change)

    def appended(self, records: int, seconds: float) -> None:
        self._records.inc(records)
        self._latency.observe(seconds)

    def log_retried(self) -> None:
        self._retries.inc()
