"""The log on Kafka: its writer, reader and topics as one (``log.port.Log``)."""

from typing import Literal

from edgeferry.core.clock import Clock
from edgeferry.log.kafka import KafkaWriter
from edgeferry.log.kafka_reader import KafkaReader
from edgeferry.log.kafka_topics import KafkaTopics


class KafkaLog:
    kind: Literal["kafka"] = "kafka"
    problem = ""

    def __init__(self, *, bootstrap: str, replication: int, clock: Clock) -> None:
        self.bootstrap = bootstrap
        self._clock = clock
        self.writer = KafkaWriter(bootstrap, clock)
        self.reader = KafkaReader(bootstrap)
        self.topics = KafkaTopics(bootstrap, replication)

    def new_writer(self) -> KafkaWriter:
        """See ``Log.new_writer``."""
        return KafkaWriter(self.bootstrap, self._clock)

    async def start(self) -> None:
        """Nothing to wait for: every call waits for Kafka by itself."""
        await self.writer.start()
        await self.reader.start()

    async def stop(self) -> None:
        await self.writer.stop()
        await self.reader.stop()
