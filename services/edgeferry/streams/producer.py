"""Faust's producer slot, left empty: what leaves a processor goes through the log writer."""

import logging
from typing import Any

from faust.transport import base


class NoProducer(base.Producer):
    """Sends nothing."""

    logger = logging.getLogger("faust")  # for what Faust says of it, such as that it starts

    async def flush(self) -> None:
        await self.buffer.flush()

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Nothing: topics are made by `edgeferry topics apply`."""
