"""Running pairs of an Edge and a Cloud, on SQLite and on real Kafka and Cassandra."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
from cassandra.cluster import Session

from edgeferry.log.kafka_topics import KafkaTopics
from edgeferry.tools.bench.cut_link import CutLink
from tests.integration.requirements.pair import Pair, Site
from tests.integration.requirements.stored import OnServers, OnSqlite, Stored
from tests.integration.tools.sites import Sites, run

CHAINS = Path(__file__).parent / "chains"


class Shape(Protocol):
    """Where the logs and stores of all sites are."""

    def settings(self, site: str) -> Mapping[str, object]: ...

    def stored(self, site: str, folder: Path) -> Stored: ...

    async def prepare(self, settings: Path) -> None:
        """What is done before a site starts for the first time."""
        ...


class Embedded:
    def settings(self, site: str) -> Mapping[str, object]:
        return {}

    def stored(self, site: str, folder: Path) -> Stored:
        return OnSqlite(folder)

    async def prepare(self, settings: Path) -> None:
        """Nothing: a site makes its own files."""


@dataclass(frozen=True)
class Servers:
    kafka: str
    cassandra: str
    cql: Session

    def settings(self, site: str) -> Mapping[str, object]:
        keyspace = {"contact_points": [self.cassandra], "keyspace": _keyspace(site)}
        return {
            "log": {"kind": "kafka", "kafka": {"bootstrap": self.kafka, "partitions": 2}},
            "store": {"kind": "cassandra", "cassandra": keyspace},
        }

    def stored(self, site: str, folder: Path) -> Stored:
        return OnServers(self.kafka, site, self.cql, _keyspace(site))

    async def prepare(self, settings: Path) -> None:
        made = await run("topics", "apply", "--settings", str(settings))
        assert made.returncode == 0, made.stderr


def _keyspace(site: str) -> str:
    return site.replace(".", "_")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test marked ``servers`` has nothing to show on SQLite."""
    elsewhere = [item for item in items if item.get_closest_marker("servers") and _embedded(item)]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


def _embedded(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and item.callspec.params["shape"] == "embedded"


@pytest.fixture(scope="package", params=["embedded", "servers"])
def shape(request: pytest.FixtureRequest) -> Shape:
    if request.param == "embedded":
        return Embedded()
    kafka: str = request.getfixturevalue("kafka")
    cassandra: str = request.getfixturevalue("cassandra")
    return Servers(kafka, cassandra, request.getfixturevalue("cql"))


@pytest.fixture(scope="package")
def sites_name(shape: Shape) -> Iterator[str]:
    """Starts the names of all sites; what servers hold of them is deleted afterwards."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    if not isinstance(shape, Servers):
        return
    with asyncio.Runner() as runner:
        runner.run(_delete_topics(KafkaTopics(shape.kafka), name))
    rows = shape.cql.execute("SELECT keyspace_name FROM system_schema.keyspaces")
    for row in rows:
        if row.keyspace_name.startswith(name):
            shape.cql.execute(f"DROP KEYSPACE {row.keyspace_name}")


async def _delete_topics(topics: KafkaTopics, start: str) -> None:
    await topics.delete([name for name in await topics.partitions() if name.startswith(start)])


@dataclass(frozen=True)
class Ground:
    """What pairs stand on."""

    shape: Shape
    name: str
    folder: Path

    @asynccontextmanager
    async def pair(
        self, name: str, chains: Mapping[str, str], **more: Mapping[str, Any]
    ) -> AsyncIterator[Pair]:
        """``chains``: the root chain of ``edge`` and ``cloud``, by name or by a file of
        ``chains/``; ``more``: further settings of either."""
        folder = self.folder / name
        folder.mkdir()
        names = {role: f"{self.name}{name}.{role}" for role in ("edge", "cloud")}
        link = CutLink(lambda: sites.sync)
        await link.start()
        sites = Sites(
            folder,
            names["edge"],
            names["cloud"],
            dialled=link.address,
            more={
                role: {
                    **self.shape.settings(names[role]),
                    "root_chain": _chain(chains[role]),
                    **more.get(role, {}),
                }
                for role in names
            },
        )
        await asyncio.gather(*map(self.shape.prepare, (sites.edge, sites.cloud)))
        ends = {
            role: Site(sites, role, site, self.shape.stored(site, folder / role))
            for role, site in names.items()
        }
        pair = Pair(link, ends["edge"], ends["cloud"])
        try:
            await pair.start()
            yield pair
        finally:
            await pair.close()


def _chain(name: str) -> str:
    file = CHAINS / f"{name}.yaml"
    return str(file) if file.exists() else name


@pytest.fixture(scope="package")
def ground(shape: Shape, sites_name: str, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(shape, sites_name, tmp_path_factory.mktemp("requirements"))


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def delivered(ground: Ground) -> AsyncIterator[Pair]:
    """With the chains that come with Edgeferry."""
    async with ground.pair("delivered", {"edge": "edge_root", "cloud": "cloud_root"}) as pair:
        yield pair


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def automatic(ground: Ground) -> AsyncIterator[Pair]:
    """A Cloud without any push to edge, that stores hot telemetry alone."""
    chains = {"edge": "edge_root", "cloud": "saves_attributes"}
    async with ground.pair("automatic", chains) as pair:
        yield pair


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def pushing(ground: Ground) -> AsyncIterator[Pair]:
    """A Cloud that pushes to its Edge, and an Edge that pushes nothing up."""
    chains = {"edge": "keeps_here", "cloud": "pushes_to_edge"}
    limits = {"payload_bytes": 900_000, "keys_per_message": 100_000}
    async with ground.pair("pushing", chains, cloud={"limits": limits}) as pair:
        yield pair
