"""``edgeferry outbox`` and GET /outbox: what of an Edge waits, beside its process and without."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from click.testing import CliRunner
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from edgeferry.__main__ import main
from edgeferry.core.admission import Admission
from edgeferry.core.clock import SystemClock
from edgeferry.core.record import Outgoing
from edgeferry.log.sqlite import SqliteLog
from edgeferry.log.topics import site_topic, site_topics
from edgeferry.runtime.metrics import Metrics
from edgeferry.runtime.settings import Settings, load_settings
from edgeferry.store import open_store
from edgeferry.sync.lanes import GENERAL_UP, TELEMETRY_UP
from edgeferry.sync.outbox_watch import OutboxWatch, WatchParts
from edgeferry.tools.site_outbox import (
    CommittedPositions,
    outbox_lookout,
    outbox_route,
    outbox_watch,
    outboxes,
    sync_group,
)

pytestmark = pytest.mark.asyncio
CLOCK = SystemClock()


class Edge:
    """The log and the store of an Edge whose process runs."""

    def __init__(self, folder: Path) -> None:
        self.settings_file = folder / "settings.yaml"
        outbox = {"telemetry": {"max_events": 100}, "general": {"max_events": 10}}
        text = {"role": "edge", "data": str(folder / "data"), "sync": {"outbox": outbox}}
        self.settings_file.write_text(json.dumps(text))
        self.settings: Settings = load_settings(self.settings_file, environ={})
        self.log = SqliteLog(folder=self.settings.data, clock=CLOCK)
        self.store = open_store(settings=self.settings.store, data=self.settings.data, clock=CLOCK)
        self.admission = Admission()
        self.parts = WatchParts(
            admission=self.admission, clock=CLOCK, metrics=Metrics(CollectorRegistry())
        )

    async def start(self) -> None:
        await self.store.start()
        await self.log.start()
        await self.log.topics.ensure(site_topics(self.settings.site, "edge"))

    async def stop(self) -> None:
        await self.log.stop()
        await self.store.stop()

    async def produce(self, lane: str, count: int) -> None:
        topic = site_topic(self.settings.site, lane)
        await self.log.append([Outgoing(topic, b"k", b"event %d" % n) for n in range(count)])

    async def watch(self) -> OutboxWatch:
        lanes = outboxes(self.settings, self.log, self.store.positions)
        found = outbox_watch(self.settings, lanes, self.parts)
        await found.look()
        return found

    def command(self) -> dict[str, dict[str, object]]:
        """The rows of ``edgeferry outbox --json`` by lane."""
        arguments = ["outbox", "--settings", str(self.settings_file), "--json"]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        return {row["lane"]: row for row in json.loads(result.output)["lanes"]}


@pytest_asyncio.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    made = Edge(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def test_the_command_tells_the_same_beside_the_site_and_without_it(edge: Edge) -> None:
    await edge.produce(TELEMETRY_UP, 150)
    await edge.produce(GENERAL_UP, 8)
    await edge.watch()
    beside = await asyncio.to_thread(edge.command)
    await edge.stop()
    alone = await asyncio.to_thread(edge.command)
    await edge.start()
    for row in (*beside.values(), *alone.values()):
        assert float(str(row.pop("oldest_age_seconds"))) > 0
    assert beside == alone
    telemetry, general = alone[TELEMETRY_UP], alone[GENERAL_UP]
    assert (telemetry["depth"], telemetry["dropped"], telemetry["full"]) == (95, 55, 0.95)
    assert (telemetry["policy"], telemetry["cap_events"]) == ("drop_oldest", 100)
    assert (general["depth"], general["dropped"], general["policy"]) == (8, 0, "refuse_new")
    assert telemetry["bytes_measured"]


async def test_a_person_gets_a_table(edge: Edge) -> None:
    await edge.produce(GENERAL_UP, 8)
    arguments = ["outbox", "--settings", str(edge.settings_file)]
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert result.exit_code == 0, result.output
    assert "sync.outbox.general" in result.output
    assert "80.0% of events" in result.output
    assert "10 events" in result.output
    assert "does not run" in result.output
    assert "GiB free" in result.output


async def test_the_outbox_is_shown_to_whom_metrics_are(edge: Edge) -> None:
    await edge.produce(GENERAL_UP, 12)
    watch = await edge.watch()
    edge.admission.count("general")
    app = Starlette(routes=[outbox_route(watch, edge.admission, CLOCK, "read-token")])

    async def asked(client: tuple[str, int], token: str = "") -> httpx.Response:
        transport = httpx.ASGITransport(app, client=client)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
            return await http.get("/outbox", headers=headers)

    assert (await asked(("10.0.0.7", 1))).status_code == 401
    assert (await asked(("10.0.0.7", 1), "read-token")).status_code == 200
    lanes = {row["lane"]: row for row in (await asked(("127.0.0.1", 1))).json()["lanes"]}
    general = lanes[GENERAL_UP]
    assert (general["depth"], general["full"]) == (12, 1.2)
    assert (general["refusing"], general["refused"]) == (True, 1)
    assert not lanes[TELEMETRY_UP]["refusing"]


async def test_a_gateway_of_its_own_refuses_by_what_the_sender_has_committed(edge: Edge) -> None:
    await edge.produce(GENERAL_UP, 12)
    lookout = outbox_lookout(edge.settings, edge.log, edge.parts)
    await lookout.look()
    assert edge.admission.refusal("general") is not None
    topic = site_topic(edge.settings.site, GENERAL_UP)
    await edge.log.commit(sync_group(edge.settings.site), topic, {0: 9})
    await lookout.look()
    assert lookout.looks[GENERAL_UP].figures.depth == 3
    assert edge.admission.refusal("general") is None
    known = await CommittedPositions(edge.log.reader, edge.settings.site).all()
    assert {stream: position.offset for stream, position in known.items()} == {
        f"outbox/{GENERAL_UP}": 9
    }


async def test_a_cloud_has_no_outbox(tmp_path: Path) -> None:
    settings_file = tmp_path / "settings.yaml"
    settings_file.write_text("role: cloud\nsite: cloud\n")
    arguments = ["outbox", "--settings", str(settings_file)]
    result = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert result.exit_code == 1
    assert "only an Edge has an outbox" in result.output
