"""Stores telemetry: history, latest values, or both (semantics 5 and 6.4).

Takes POST_TELEMETRY_REQUEST only. The time is the body's own, else metadata ``ts``, else
the message's. ``processing_settings`` says which messages are stored: every one, the
first of each interval and originator, or none; for history and latest apart if ADVANCED.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edgeferry.core.body import data_ts, telemetry
from edgeferry.core.deduplication import INTERVAL_MAX_SECONDS, Buckets
from edgeferry.core.errors import InvalidPayload
from edgeferry.core.message import RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.node import (
    SUCCESS,
    Leaving,
    NodeSpec,
    Output,
    TimeseriesPort,
    TimeseriesWrite,
    failure,
)

TTL_MAX_SECONDS: Final = 630_720_000
"""20 years: the most that Cassandra takes."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """``deduplication_interval_secs`` belongs to DEDUPLICATE: the first message wins."""

    type: Literal["ON_EVERY_MESSAGE", "DEDUPLICATE", "SKIP"] = "ON_EVERY_MESSAGE"
    deduplication_interval_secs: int | None = None

    def problems(self, path: str) -> Iterable[str]:
        interval = self.deduplication_interval_secs
        if self.type != "DEDUPLICATE" and interval is not None:
            yield f"{path}deduplication_interval_secs: only for type DEDUPLICATE"
        if self.type == "DEDUPLICATE" and not 1 <= (interval or 0) <= INTERVAL_MAX_SECONDS:
            yield f"{path}deduplication_interval_secs: expected 1 to {INTERVAL_MAX_SECONDS}"


@dataclass(frozen=True, slots=True)
class ProcessingSettings:
    """ON_EVERY_MESSAGE and DEDUPLICATE hold for history and latest; ADVANCED takes one
    strategy for each, ``timeseries`` being history."""

    type: Literal["ON_EVERY_MESSAGE", "DEDUPLICATE", "ADVANCED"] = "ON_EVERY_MESSAGE"
    deduplication_interval_secs: int | None = None
    timeseries: Strategy | None = None
    latest: Strategy | None = None

    def problems(self, path: str) -> Iterable[str]:
        if self.type == "ADVANCED":
            for name, strategy in (("timeseries", self.timeseries), ("latest", self.latest)):
                if strategy is None:
                    yield f"{path}{name}: missing: ADVANCED wants a strategy for each"
                else:
                    yield from strategy.problems(f"{path}{name}.")
            if self.deduplication_interval_secs is not None:
                yield f"{path}deduplication_interval_secs: only for type DEDUPLICATE"
            return
        if self.timeseries or self.latest:
            yield f"{path}type: timeseries and latest are only for type ADVANCED"
        yield from self.both().problems(path)

    def both(self) -> Strategy:
        if self.type == "DEDUPLICATE":
            return Strategy("DEDUPLICATE", self.deduplication_interval_secs)
        return Strategy("ON_EVERY_MESSAGE", self.deduplication_interval_secs)


@dataclass(frozen=True, slots=True)
class Config:
    """``default_ttl`` in seconds, 0 for ever; metadata ``TTL`` goes before it.
    ``use_server_ts``: the time the message entered the site instead of metadata ``ts``."""

    default_ttl: int = 0
    use_server_ts: bool = False
    processing_settings: ProcessingSettings = ProcessingSettings()

    def validate(self) -> Iterable[str]:
        if not 0 <= self.default_ttl <= TTL_MAX_SECONDS:
            yield f"default_ttl: expected 0 to {TTL_MAX_SECONDS} seconds"
        yield from self.processing_settings.problems("processing_settings.")


class Choice:
    """Whether a point goes to one of the tables. ``stored`` marks what a save has made
    durable: a save that failed is repeated whole."""

    def __init__(self, strategy: Strategy) -> None:
        self._always = strategy.type == "ON_EVERY_MESSAGE"
        interval = strategy.deduplication_interval_secs
        self._buckets = Buckets(interval) if interval is not None else None

    def wanted(self, originator: str, ts: int) -> bool:
        if self._buckets is None:
            return self._always
        return self._buckets.is_first(originator, ts)

    def stored(self) -> None:
        if self._buckets is not None:
            self._buckets.keep()

    def begin(self) -> None:
        if self._buckets is not None:
            self._buckets.forget_unkept()


class Choices:
    """What a node instance remembers: the choices for history and for latest."""

    def __init__(self, config: Config) -> None:
        settings = config.processing_settings
        both = settings.both()
        self.history = Choice(settings.timeseries or both)
        self.latest = Choice(settings.latest or both)


async def process_batch(
    messages: Sequence[RuleMessage], config: Config, port: TimeseriesPort, choices: Choices
) -> list[Iterable[Leaving]]:
    """Raises what the port raises: then nothing counts as stored."""
    choices.history.begin()
    choices.latest.begin()
    writes: list[TimeseriesWrite] = []
    results: list[Iterable[Leaving]] = []
    for message in messages:
        try:
            writes += _writes(message, config, choices)
        except InvalidPayload as error:
            results.append((failure(message, str(error)),))
        else:
            results.append((Output(SUCCESS, message),))
    if writes:
        await port.save(writes)
    choices.history.stored()
    choices.latest.stored()
    return results


def _writes(message: RuleMessage, config: Config, choices: Choices) -> list[TimeseriesWrite]:
    """Raises InvalidPayload. Point i of a message carries stamp + i."""
    if message.type != MessageType.POST_TELEMETRY_REQUEST:
        raise InvalidPayload(f"Unsupported msg type {message.type}")
    ttl = _ttl(message, config)
    default_ts = message.ts if config.use_server_ts else data_ts(message)
    writes = []
    for index, (ts, values) in enumerate(telemetry(message, default_ts)):
        history = choices.history.wanted(message.entity_id, ts)
        latest = choices.latest.wanted(message.entity_id, ts)
        if history or latest:
            writes.append(
                TimeseriesWrite(
                    message.entity_type,
                    message.entity_id,
                    ts,
                    message.stamp + index,
                    values,
                    ttl,
                    history,
                    latest,
                )
            )
    return writes


def _ttl(message: RuleMessage, config: Config) -> int:
    text = message.metadata.get("TTL")
    if not text:
        return config.default_ttl
    ttl = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
    if not 0 <= ttl <= TTL_MAX_SECONDS:
        raise InvalidPayload(f"metadata TTL: expected 0 to {TTL_MAX_SECONDS} seconds")
    return ttl


NODE = NodeSpec(
    type="save_timeseries",
    summary="Stores telemetry: history and latest values, each by its strategy.",
    config=Config,
    process_batch=process_batch,
    port="timeseries",
    state=Choices,
)
