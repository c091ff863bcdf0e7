"""Deletes the values that a message of type TIMESERIES_DELETED names, as the other site did.

Merged by stamp, as values are: what was written after the delete stays, however late the
delete comes, and what was written before does not come back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeferry.core.body import deleted_timeseries
from edgeferry.core.errors import InvalidPayload, Unstorable
from edgeferry.core.message import RuleMessage
from edgeferry.core.message_type import MessageType
from edgeferry.core.node import SUCCESS, Leaving, NodeSpec, Output, failure
from edgeferry.core.store import TimeseriesDelete, TimeseriesStore


@dataclass(frozen=True, slots=True)
class Config:
    def validate(self) -> Iterable[str]:
        return ()


async def process_batch(
    messages: Sequence[RuleMessage], config: Config, port: TimeseriesStore
) -> list[Iterable[Leaving]]:
    """Raises StoreUnavailable (Later)."""
    results: list[Iterable[Leaving]] = []
    for message in messages:
        try:
            await port.delete(_delete(message))
        except (InvalidPayload, Unstorable) as error:
            results.append((failure(message, str(error)),))
        else:
            results.append((Output(SUCCESS, message),))
    return results


def _delete(message: RuleMessage) -> TimeseriesDelete:
    """Raises InvalidPayload."""
    if message.type != MessageType.TIMESERIES_DELETED:
        raise InvalidPayload(f"Unsupported msg type {message.type}")
    wanted = deleted_timeseries(message)
    return TimeseriesDelete(
        entity_type=message.entity_type,
        entity_id=message.entity_id,
        keys=wanted.keys,
        start_ts=wanted.start_ts,
        end_ts=wanted.end_ts,
        stamp=message.stamp,
        delete_latest=wanted.delete_latest,
        rewrite_latest=wanted.rewrite_latest,
    )


NODE = NodeSpec(
    type="delete_timeseries",
    summary="Deletes the values that the other site deleted (TIMESERIES_DELETED).",
    config=Config,
    process_batch=process_batch,
    port="timeseries",
)
