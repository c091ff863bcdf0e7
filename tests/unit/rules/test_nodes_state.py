"""What nodes remember between batches, which one message or one batch cannot show."""

import logging

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import StoreUnavailable, Unstorable
from edgeferry.core.node import SUCCESS, Output
from edgeferry.core.template import Template
from edgeferry.rules.nodes import log, save_timeseries
from tests.contract.node_driver import NodeUnderTest, message

DEDUPLICATE = {"processing_settings": {"type": "DEDUPLICATE", "deduplication_interval_secs": 60}}


def test_deduplication_remembers_over_batches() -> None:
    node = NodeUnderTest(save_timeseries.NODE, DEDUPLICATE)
    node.run(message(data={"a": 1}))
    ((leaving,),) = node.run(message(data={"a": 2}))
    assert isinstance(leaving, Output)
    assert leaving.relation == SUCCESS
    assert [write.values for write in node.port.saved] == [{"a": 1}]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), Unstorable("no", 1)])
def test_a_save_that_failed_is_not_taken_for_done(error: Exception) -> None:
    node = NodeUnderTest(save_timeseries.NODE, DEDUPLICATE)
    node.port.error = error
    with pytest.raises(type(error)):
        node.run(message(data={"a": 1}), message(data={"a": 2}))
    node.port.error = None
    node.run(message(data={"a": 1}), message(data={"a": 2}))
    assert [write.values for write in node.port.saved] == [{"a": 1}]


def test_two_instances_remember_apart() -> None:
    first, second = (NodeUnderTest(save_timeseries.NODE, DEDUPLICATE) for _ in range(2))
    first.run(message(data={"a": 1}))
    second.run(message(data={"a": 1}))
    assert len(second.port.saved) == 1


def test_a_flood_writes_a_few_lines_a_second_and_says_how_many_it_left_out() -> None:
    clock = ManualClock()
    allowance = log.Allowance(2, clock)
    assert [allowance.take() for _ in range(5)] == [True, True, False, False, False]
    assert allowance.left_out == 3
    clock.advance(1)
    assert allowance.take()


def test_lines_left_out_are_told_in_the_next_line(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    config = log.Config(message=Template.parse("$[a]"), max_per_second=1)
    state = log.Allowance(1, clock)
    with caplog.at_level(logging.INFO):
        _run_log(config, state, 3)
        clock.advance(1)
        _run_log(config, state, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "POST_TELEMETRY_REQUEST DEVICE 9f7c1f80-5b1e-11f0-8000-0242ac120002: 0",
        "2 messages were not logged",
        "POST_TELEMETRY_REQUEST DEVICE 9f7c1f80-5b1e-11f0-8000-0242ac120002: 0",
    ]


def test_a_line_is_one_line_and_bounded() -> None:
    config = log.Config()
    text = log.line(message(data="a\nERROR forged\r\x1b[31m" + "x" * 10_000), config)
    assert text.isprintable()
    assert "a\\nERROR forged\\r\\x1b[31mxxx" in text
    assert len(text) <= log.LINE_MAX * 10


def _run_log(config: log.Config, state: log.Allowance, count: int) -> None:
    work = log.process_batch([message(data={"a": n}) for n in range(count)], config, state)
    with pytest.raises(StopIteration):
        work.send(None)
