"""Records as a foreign writer may write them."""

import aiokafka
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy


class RawName(str):
    """A header's name that goes into the log as these bytes; for builders in Python."""

    raw: bytes

    def __new__(cls, raw: bytes) -> "RawName":
        made = super().__new__(cls, raw.decode(errors="replace"))
        made.raw = raw
        return made

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return self.raw


async def append_foreign(
    bootstrap: str,
    topic: str,
    *headers: list[tuple[str, bytes | None]],
    value: bytes = b"junk",
    partition: int = 0,
) -> None:
    """Append a record per list of headers, all in one batch."""
    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        batch = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, False, -1, -1, -1, 1_000_000)
        for row in headers:
            batch.append(key=b"k", value=value, timestamp=None, headers=row)
        await (await producer.send_batch(batch, topic, partition=partition))
    finally:
        await producer.stop()
