"""Faust's producer slot, left empty: what leaves a processor goes through the log writer."""

from typing import Any

from faust.transport import base


class NoProducer(base.Producer):
    """Sends nothing."""

    async def flush(self) -> None:
        await self.buffer.flush()

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Nothing: topics are made by `edgeferry topics apply`."""
