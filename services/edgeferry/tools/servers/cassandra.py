"""Cassandra: one node."""

import asyncio
import struct
from collections.abc import Sequence

from edgeferry.tools.servers.launch import Launch

_JAMM = "jamm-0.4.0.jar"

# CQL binary protocol version 4 (doc/native_protocol_v4.spec of Cassandra): header, opcodes
_HEADER = struct.Struct(">BBhBi")
_STARTUP, _READY, _QUERY, _RESULT = 0x01, 0x02, 0x07, 0x08
_VERSION_4, _CONSISTENCY_ONE, _NO_FLAGS = 0x04, 0x0001, 0x00
_ASKED = "SELECT release_version FROM system.local"


class Cassandra:
    name = "cassandra"
    title = "Cassandra 5.0.5"
    ports: Sequence[str] = ("cassandra", "cassandra_storage")

    def __init__(self, heap: str = "1G") -> None:
        self.heap = heap

    def first_start(self, launch: Launch) -> list[str] | None:
        return None

    def command(self, launch: Launch) -> list[str]:
        return [
            *launch.java_command(),
            f"@{launch.copy('cassandra.jvm.args')}",
            f"-javaagent:{launch.jars / _JAMM}",
            f"-Dlogback.configurationFile={launch.copy('cassandra.logback.xml').as_uri()}",
            f"-Dcassandra.config={launch.fill('cassandra.yaml').as_uri()}",
            f"-Dcassandra.storagedir={launch.folder}",
            "-Dcassandra-foreground=yes",
            *("-cp", f"{launch.jars}/*"),
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    async def ask(self, host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            options = struct.pack(">H", 1) + _string("CQL_VERSION") + _string("3.0.0")
            await _call(reader, writer, _STARTUP, options, _READY)
            query = _ASKED.encode()
            body = struct.pack(">i", len(query)) + query
            body += struct.pack(">HB", _CONSISTENCY_ONE, _NO_FLAGS)
            await _call(reader, writer, _QUERY, body, _RESULT)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("closed by Cassandra") from error
        finally:
            writer.close()


async def _call(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    opcode: int,
    body: bytes,
    expected: int,
) -> None:
    writer.write(_HEADER.pack(_VERSION_4, 0, 0, opcode, len(body)) + body)
    header = await reader.readexactly(_HEADER.size)
    _, _, _, answered, length = _HEADER.unpack(header)
    await reader.readexactly(length)
    if answered != expected:
        raise ConnectionError(f"Cassandra answered opcode {answered:#x}, not {expected:#x}")


def _string(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()
