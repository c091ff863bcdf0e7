"""Sites of a test as processes of their own, started by hand from settings files."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

from edgeferry.core.clock import SystemClock
from edgeferry.gateway.devices import Device, add_device
from edgeferry.runtime.strict_yaml import dump_yaml
from edgeferry.runtime.tls import ensure_dev_authority
from edgeferry.sync.edges import add_edge
from edgeferry.tools.supervise import die_with_parent

DEADLINE_SECONDS = 120.0
BASE_TS = 1_700_000_000_000
_POLL_SECONDS = 0.1
_BATCH = 500


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Raises TimeoutError when it does not hold within the deadline."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not await condition():
            await asyncio.sleep(_POLL_SECONDS)


def edgeferry(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "edgeferry", *arguments]


async def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run, edgeferry(*arguments), capture_output=True, text=True, check=False,
        timeout=DEADLINE_SECONDS,
    )  # fmt: skip


class Sites:
    """An Edge and a Cloud in ``folder``, on SQLite where ``more`` does not say otherwise; the
    Edge is named ``edge_site``."""

    def __init__(
        self,
        folder: Path,
        edge_site: str,
        cloud_site: str,
        *,
        dialled: str = "",
        more: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        """``dialled``: where the Edge finds its Cloud, when not directly. ``more``: further
        settings of ``edge`` and ``cloud``."""
        self.folder = folder
        more = more or {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.sync: tuple[str, int] = probe.getsockname()
        tls = ensure_dev_authority(folder / "tls", SystemClock())
        edges_file = folder / "edges.json"
        edge, secret = add_edge(edges_file, "north")
        secret_file = folder / "secret"
        secret_file.write_text(secret)
        devices_file = folder / "devices.json"
        self.devices: list[Device] = [add_device(devices_file, f"d{n}") for n in range(3)]
        any_port = {"port": 0}
        self.edge = self._write(
            "edge",
            site=edge_site,
            devices_file=str(devices_file),
            http=any_port,
            mqtt=any_port,
            sync={
                "address": dialled or "{}:{}".format(*self.sync),
                "ca_file": str(tls.ca),
                "edge_key": edge.key,
                "edge_secret_file": str(secret_file),
            },
            **more.get("edge", {}),
        )
        self.cloud = self._write(
            "cloud",
            site=cloud_site,
            http=any_port,
            mqtt=any_port,
            sync={
                "listen": {"port": self.sync[1]},
                "cert_file": str(tls.cert),
                "key_file": str(tls.key),
                "edges_file": str(edges_file),
            },
            **more.get("cloud", {}),
        )

    def _write(self, role: str, **settings: object) -> Path:
        path = self.folder / f"{role}.yaml"
        document = {"role": role, "data": str(self.folder / role), **settings}
        path.write_text(dump_yaml(document))
        return path

    @asynccontextmanager
    async def running(self, settings: Path) -> AsyncIterator[str]:
        """The site's HTTP address, until it has stopped in order."""
        ready = settings.with_suffix(".ready")
        ready.unlink(missing_ok=True)
        with settings.with_suffix(".log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *edgeferry("site", "--settings", str(settings), "--ready-file", str(ready)),
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent(os.getpid()),
            )

        async def started() -> bool:
            assert process.returncode is None, settings.with_suffix(".log").read_text()
            return ready.exists()

        try:
            await until(started)
            yield self.told(settings)["http"]
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_SECONDS):
                assert await process.wait() == 0
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def told(self, settings: Path) -> dict[str, Any]:
        """What a running site said when it was ready."""
        told: dict[str, Any] = json.loads(settings.with_suffix(".ready").read_text())
        return told

    async def publish(self, http: str, numbers: Sequence[int]) -> None:
        """Of every device, one value with each number at BASE_TS + number."""
        async with httpx.AsyncClient(timeout=30) as client:
            for device in self.devices:
                for begin in range(0, len(numbers), _BATCH):
                    body = [
                        {"ts": BASE_TS + number, "values": {"n": number}}
                        for number in numbers[begin : begin + _BATCH]
                    ]
                    url = f"http://{http}/api/v1/{device.token}/telemetry"
                    answer = await client.post(url, json=body)
                    assert answer.status_code == 200, answer.text

    async def lag(self, settings: Path) -> dict[str, int]:
        """By node."""
        ended = await run("lag", "--settings", str(settings), "--json")
        assert ended.returncode == 0, ended.stderr
        shown: dict[str, Any] = json.loads(ended.stdout)
        return {row["node"]: row["lag"] for row in shown["nodes"]}
