"""The gateway's figures in a Prometheus registry."""

from prometheus_client import CollectorRegistry

from edgeferry.gateway.metrics import PrometheusGatewayMetrics


def test_every_event_is_counted_under_its_name() -> None:
    registry = CollectorRegistry()
    metrics = PrometheusGatewayMetrics(registry)
    metrics.received("mqtt", 3, 90)
    metrics.received("http", 1, 10)
    metrics.rejected("mqtt", "payload")
    metrics.dead_lettered("payload")
    metrics.connections(1)
    metrics.connections(1)
    metrics.connections(-1)
    metrics.appended(4, 0.002)
    metrics.log_retried()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"edgeferry_gateway_{name}", labels)

    assert value("payloads_total", transport="mqtt") == 3
    assert value("payload_bytes_total", transport="http") == 10
    assert value("rejected_total", transport="mqtt", reason="payload") == 1
    assert value("dead_letters_total", reason="payload") == 1
    assert value("connections") == 1
    assert value("records_total") == 4
    assert value("append_seconds_count") == 1
    assert value("append_retries_total") == 1
