"""Kafka: one node that is broker and controller (KRaft)."""

import asyncio
from collections.abc import Sequence

from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.tools.servers.launch import Launch

_CLUSTER_ID = "edgeferry-local-kafka0"


class Kafka:
    name = "kafka"
    title = "Kafka 4.1.1"
    heap = "512M"
    ports: Sequence[str] = ("kafka", "kafka_controller")

    def first_start(self, launch: Launch) -> list[str] | None:
        if (launch.folder / "data" / "meta.properties").exists():
            return None
        return [
            *self._java(launch),
            "kafka.tools.StorageTool",
            *("format", "--ignore-formatted", "--cluster-id", _CLUSTER_ID),
            *("--config", str(launch.fill("kafka.properties"))),
        ]

    def command(self, launch: Launch) -> list[str]:
        return [*self._java(launch), "kafka.Kafka", str(launch.fill("kafka.properties"))]

    def _java(self, launch: Launch) -> list[str]:
        return [
            *launch.java_command(),
            f"-Dlog4j2.configurationFile={launch.copy('kafka.log4j2.yaml').as_uri()}",
            *("-cp", f"{launch.jars}/*"),
        ]

    async def ask(self, host: str, port: int) -> None:
        # librdkafka prints a line for every refused connection, so it asks only an open port
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        await writer.wait_closed()
        await KafkaTopics(f"{host}:{port}").partitions()
