import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from edgeferry.core.clock import ManualClock
from edgeferry.runtime.logging import configure_logging


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def configured(level: str = "INFO", clock: ManualClock | None = None) -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level, clock or ManualClock(), stream=stream)
    return stream


def test_a_line_is_one_json_document_with_level_logger_and_time() -> None:
    stream = configured()
    logging.getLogger("edgeferry.x").warning("%s is %d", "a", 3)
    logging.getLogger("edgeferry.x").debug("not shown")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("a is 3", "warning", "edgeferry.x")
    assert line["timestamp"].endswith("Z")


def test_an_exception_stays_in_its_line() -> None:
    stream = configured()
    try:
        raise KeyError("gone")
    except KeyError:
        logging.getLogger("edgeferry.x").exception("failed")
    (line,) = lines(stream)
    assert "KeyError: 'gone'" in line["exception"]


def test_structlog_writes_to_the_same_place() -> None:
    stream = configured()
    structlog.get_logger("edgeferry.y").info("started", port=8080)
    (line,) = lines(stream)
    assert (line["event"], line["port"], line["logger"]) == ("started", 8080, "edgeferry.y")


@pytest.mark.parametrize(
    "text",
    [
        "header Authorization: Bearer hidden7.abc.def",
        "POST /api/v1/hidden7/telemetry",
        "CONNECT password=hidden7",
        "{'access_token': 'hidden7'}",
        "got eyJhbGciOiJI.hidden7.hidden7",
    ],
)
def test_secrets_in_a_text_are_hidden(text: str) -> None:
    stream = configured()
    logging.getLogger("edgeferry.x").info("%s", text)
    assert "hidden7" not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_values_named_as_secrets_are_hidden() -> None:
    stream = configured()
    structlog.get_logger("x").info("login", password="hidden7", access_token="hidden7", user="u")
    assert "hidden7" not in stream.getvalue()
    assert lines(stream)[0]["user"] == "u"


def test_libraries_speak_only_of_trouble_and_do_not_repeat_themselves() -> None:
    clock = ManualClock()
    stream = configured("DEBUG", clock)
    library = logging.getLogger("aiokafka.conn")
    library.info("connected")
    for number in range(20):
        library.error("cannot connect to node %d", number)
    clock.advance(11)
    library.error("cannot connect to node %d", 20)
    assert [line["event"] for line in lines(stream)] == [
        "cannot connect to node 0",
        "cannot connect to node 20 (and 19 times more since the last line)",
    ]


def test_our_own_lines_are_never_left_out() -> None:
    stream = configured()
    for _ in range(3):
        logging.getLogger("edgeferry.x").error("again")
    assert len(lines(stream)) == 3


def test_a_person_gets_lines_to_read() -> None:
    stream = io.StringIO()
    configure_logging("INFO", ManualClock(), stream=stream, human=True)
    logging.getLogger("edgeferry.x").info("hello")
    assert "hello" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
