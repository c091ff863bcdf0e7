"""Logging: JSON lines on stderr, or lines for a person at a terminal.

The code logs by the standard library; structlog writes what it and the libraries say.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import TextIO

import structlog
from structlog.typing import Processor

from edgeferry.core.clock import Clock

_NOISY = ("aiokafka", "argon2", "asyncio", "cassandra", "faust", "grpc", "mode", "uvicorn")
_REPEAT_SECONDS = 10.0
_SECRET_NAMES = re.compile(r"password|secret|token|authorization|credential|api_?key", re.I)
_SECRET_TEXTS = (
    (re.compile(r"\b(Bearer|Basic) +[\w.~+/=-]{6,}", re.I), r"\1 ***"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), "***"),
    (re.compile(r"(/api/v1/)[^/\s]+"), r"\1***"),
    (re.compile(r"((?:password|secret|token)['\"]?\s*[=:]\s*)['\"]?[^\s,'\"}]+", re.I), r"\1***"),
)
_HIDDEN = "***"


def configure_logging(
    level: str, clock: Clock, *, stream: TextIO | None = None, human: bool | None = None
) -> None:
    """Take over the root logger of this process.

    level: DEBUG, INFO, WARNING or ERROR. human: lines with colours instead of JSON; by
    default when ``stream`` (stderr) is a terminal."""
    stream = stream or sys.stderr
    human = stream.isatty() if human is None else human
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    last: Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if human
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    handler.addFilter(RepeatFilter(clock))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def hide_secrets(
    logger: object, method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """Values whose name speaks of a secret, and what looks like one inside a text."""
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = _HIDDEN
        elif isinstance(value, str):
            event[name] = _without_secrets(value)
    return event


def _without_secrets(text: str) -> str:
    for pattern, replacement in _SECRET_TEXTS:
        text = pattern.sub(replacement, text)
    return text


class RepeatFilter(logging.Filter):
    """Lets a library say the same thing once in ten seconds, with a count of the rest: with
    Kafka away its client says so ten times a second for each of its connections."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in _NOISY:
            return True
        key = (record.name, str(record.msg))
        now = self._clock.monotonic()
        since, left_out = self._said.get(key, (-_REPEAT_SECONDS, 0))
        if now - since < _REPEAT_SECONDS:
            self._said[key] = (since, left_out + 1)
            return False
        if len(self._said) > 1000:
            self._said.clear()
        self._said[key] = (now, 0)
        if left_out:
            record.msg = f"{record.msg} (and {left_out} times more since the last line)"
        return True
