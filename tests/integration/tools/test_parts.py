"""A Cloud on Kafka and Cassandra whose parts are processes of their own, and its Edge."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.gateway.devices import Device, add_device
from edgeferry.runtime.settings import load_settings
from edgeferry.runtime.strict_yaml import dump_yaml
from edgeferry.runtime.tls import ensure_dev_authority
from edgeferry.sync.edges import add_edge
from edgeferry.tools.data_folder import any_free_port
from edgeferry.tools.ready import Ready
from tests.integration.tools.ends import Ends, edgeferry, started_part

pytestmark = pytest.mark.asyncio
PASSWORD = "a password of the test"
PARTS: tuple[tuple[str, ...], ...] = (
    ("rules", "--node", "save"),
    ("rules", "--all"),
    ("sync",),
    ("api",),
    ("attributes",),
    ("gateway",),
)


class Split:
    """Settings of the Cloud and of the Edge."""

    def __init__(self, folder: Path, site: str, kafka: str, cassandra: str, keyspace: str) -> None:
        self.folder = folder
        tls = ensure_dev_authority(folder / "tls", SystemClock())
        edge, secret = add_edge(folder / "edges.json", "north")
        (folder / "secret").write_text(secret)
        self.device: Device = add_device(folder / "devices.json", "pump")
        sync = any_free_port("127.0.0.1")
        common = {"mqtt": {"port": 0}}
        self.cloud = self._write(
            "cloud",
            {
                **common,
                "role": "cloud",
                "site": site,
                "http": {"port": 0},
                "log": {"kind": "kafka", "kafka": {"bootstrap": kafka, "partitions": 4}},
                "store": {
                    "kind": "cassandra",
                    "cassandra": {"contact_points": [cassandra], "keyspace": keyspace},
                },
                "sync": {
                    "listen": {"port": sync},
                    "cert_file": str(tls.cert),
                    "key_file": str(tls.key),
                    "edges_file": str(folder / "edges.json"),
                },
            },
        )
        self.edge = self._write(
            "edge",
            {
                **common,
                "role": "edge",
                "devices_file": str(folder / "devices.json"),
                "http": {"port": 0},
                "sync": {
                    "address": f"127.0.0.1:{sync}",
                    "ca_file": str(tls.ca),
                    "edge_key": edge.key,
                    "edge_secret_file": str(folder / "secret"),
                },
            },
        )

    def _write(self, name: str, settings: dict[str, Any]) -> Path:
        folder = self.folder / name
        folder.mkdir()
        file = folder / "settings.yaml"
        file.write_text(dump_yaml({"data": str(folder), **settings}))
        load_settings(file)
        return file

    async def start(self, stack: AsyncExitStack, settings: Path, *command: str) -> Ready:
        name = f"{settings.parent.name}-{'-'.join(command).replace('--', '')}"
        arguments = (*command, "--settings", str(settings))
        environment = {"EDGEFERRY_ADMIN_PASSWORD": PASSWORD}
        return await stack.enter_async_context(
            started_part(self.folder / name, *arguments, environment=environment)
        )


async def test_the_parts_of_a_cloud_work_together_as_processes(
    tmp_path: Path, kafka: str, cassandra: str, topic_prefix: str, keyspace: str
) -> None:
    split = Split(tmp_path, topic_prefix, kafka, cassandra, keyspace)
    made = await edgeferry("topics", "apply", "--settings", str(split.cloud))
    assert made.returncode == 0, made.stderr
    now = SystemClock().now_ms()
    async with AsyncExitStack() as stack, httpx.AsyncClient() as client:
        parts = {command: await split.start(stack, split.cloud, *command) for command in PARTS}
        assert len({ready.pid for ready in parts.values()}) == len(PARTS)
        assert "runner" not in parts["gateway",].services
        assert parts["gateway",].mqtt
        assert parts["api",].mqtt == ""
        edge = await split.start(stack, split.edge, "site")
        (tmp_path / "password").write_text(PASSWORD)
        device = {"id": split.device.id, "token": split.device.token}
        logins = {"edge": tmp_path / "password", "cloud": tmp_path / "password"}
        ends = Ends(edge.http, parts["api",].http, device, logins)
        await ends.publish(client, {"ts": now, "values": {"temperature": 21.5}})
        await ends.until_read(client, "temperature", now, "21.5")
        gateway = Ends(parts["gateway",].http, parts["api",].http, device, logins)
        await gateway.publish(client, {"ts": now + 1, "values": {"temperature": 22}})
        await ends.until_read(client, "temperature", now + 1, "22")
