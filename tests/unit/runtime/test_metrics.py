from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from edgeferry.runtime.metrics import Metrics
from edgeferry.store.metrics import StoreMetrics
from edgeferry.streams.runner import RunnerMetrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def test_a_node_reports_one_batch_with_one_call() -> None:
    metrics = Metrics(CollectorRegistry())
    runner: RunnerMetrics = metrics
    node = runner.node("root", "save")
    node.batch(3, 5, 0.02, 1.5)
    node.batch(1, 0, 0.02, 0.5)
    node.retried()
    node.dead(2)
    node.lag(7)
    metrics.ended("root", "save", "Other", 4)
    found, labels = samples(metrics), (("chain", "root"), ("node", "save"))
    assert found["edgeferry_node_records_in_total", labels] == 4
    assert found["edgeferry_node_records_out_total", labels] == 5
    assert found["edgeferry_node_batch_seconds_count", labels] == 2
    assert found["edgeferry_node_age_seconds_sum", labels] == 2.0
    assert found["edgeferry_node_retries_total", labels] == 1
    assert found["edgeferry_node_dead_letters_total", labels] == 2
    assert found["edgeferry_node_lag_records", labels] == 7
    assert found["edgeferry_node_ended_messages_total", (*labels, ("relation", "Other"))] == 4


def test_a_store_reports_its_batches() -> None:
    metrics = Metrics(CollectorRegistry())
    store: StoreMetrics = metrics.store("cassandra")
    store.observe_batch(100, 5_000, 0.004)
    store.observe_batch(1, 0, 0.004)
    store.future_ts(2)
    store.latest_full(3)
    store.batch_refused()
    found, labels = samples(metrics), (("store", "cassandra"),)
    assert found["edgeferry_store_rows_total", labels] == 101
    assert found["edgeferry_store_batch_rows_count", labels] == 2
    assert found["edgeferry_store_batch_bytes_count", labels] == 1
    assert found["edgeferry_store_batch_seconds_count", labels] == 2
    assert found["edgeferry_store_future_ts_total", labels] == 2
    assert found["edgeferry_store_latest_full_total", labels] == 3
    assert found["edgeferry_store_batch_refused_total", labels] == 1


def test_the_link_reports_its_lanes() -> None:
    metrics = Metrics(CollectorRegistry())
    lane = metrics.lane("cloud-events-ts")
    lane.backlog(12, 3.5)
    lane.in_flight(2)
    lane.acked(10)
    lane.received(4)
    lane.lost(1)
    metrics.sync_connected(1)
    found, labels = samples(metrics), (("lane", "cloud-events-ts"),)
    assert found["edgeferry_outbox_depth_events", labels] == 12
    assert found["edgeferry_outbox_oldest_seconds", labels] == 3.5
    assert found["edgeferry_sync_in_flight_batches", labels] == 2
    assert found["edgeferry_sync_acked_events_total", labels] == 10
    assert found["edgeferry_sync_received_events_total", labels] == 4
    assert found["edgeferry_sync_lost_events_total", labels] == 1
    assert found["edgeferry_sync_connected", ()] == 1


def test_the_process_shows_its_own_cpu_and_memory() -> None:
    found = samples(Metrics(CollectorRegistry()))
    assert found["process_cpu_seconds_total", ()] > 0
    assert found["process_resident_memory_bytes", ()] > 0
