"""A site knows its store again, and says so once when it does not."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from edgeferry.core.errors import LogUnavailable
from edgeferry.core.store import Entity, EntityStore, Position
from edgeferry.log.port import PartitionLag, Topics
from edgeferry.sync.handshake import INCARNATION
from edgeferry.sync.store_identity import (
    FILE,
    Identity,
    StoreIdentity,
    StoreIdentityParts,
    loss_of,
)
from tests.unit.sync.fakes import MemoryPositions

pytestmark = pytest.mark.asyncio
READERS = {"edge.sync": ["edge.cloud-events"]}


class _Log:
    committed: int | None = None
    away = False

    async def lags(
        self, readers: Mapping[str, Sequence[str]]
    ) -> Mapping[str, Sequence[PartitionLag]]:
        if self.away:
            raise LogUnavailable("away")
        return {
            group: [PartitionLag(topic, 0, self.committed, 0, 9) for topic in topics]
            for group, topics in readers.items()
        }


class _Entities:
    count = 0

    async def page(
        self, tenant_id: str, entity_type: str, limit: int, skip: int
    ) -> tuple[Sequence[Entity], int]:
        return [], self.count


class Site:
    """What lasts over starts: ``folder``, the log, the store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = _Log()
        self.losses = 0
        self._made = 0
        self.lose_store()

    def lose_store(self) -> None:
        self.positions = MemoryPositions()
        self.entities = _Entities()

    def _fresh(self) -> str:
        self._made += 1
        return f"name-{self._made}"

    def _lost(self) -> None:
        self.losses += 1

    async def runs(self, turns: int = 0) -> StoreIdentity:
        parts = StoreIdentityParts(
            role="edge",
            tenant_id="t",
            data=self.folder,
            positions=self.positions,
            entities=cast(EntityStore, self.entities),
            topics=cast(Topics, self.log),
            readers=READERS,
            fresh=self._fresh,
            lost=self._lost,
        )
        service = StoreIdentity(parts)
        await service.start()
        for _ in range(turns):
            await service.turn()
        await service.stop()
        return service

    @property
    def name(self) -> str:
        return self.positions.saved[INCARNATION].incarnation


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_what_is_remembered_tells_what_became_of_a_store() -> None:
    known = Identity("a", 5)
    assert loss_of(None, None) is None
    assert loss_of(known, None) is None
    assert loss_of(known, known) is None
    assert loss_of(Identity("a", 6), known) is None, "killed between the two writes"
    assert loss_of(None, known) == "new"
    assert loss_of(Identity("b", 9), known) == "another"
    assert loss_of(Identity("a", 4), known) == "older"


async def test_a_first_start_and_every_later_one_lose_nothing(site: Site) -> None:
    await site.runs(turns=3)
    name, turn = site.name, site.positions.saved[INCARNATION].offset
    await site.runs()
    assert (site.name, site.losses) == (name, 0)
    assert site.positions.saved[INCARNATION].offset == turn + 1


async def test_a_store_of_an_earlier_version_keeps_the_identity_that_peers_know(
    site: Site,
) -> None:
    await site.positions.save(INCARNATION, Position(0, 0, "known"))
    site.log.committed = 4
    await site.runs()
    assert (site.name, site.losses) == ("known", 0)


async def test_a_store_without_an_identity_that_is_not_empty_is_no_loss(site: Site) -> None:
    site.log.committed, site.entities.count = 4, 1
    await site.runs()
    assert site.losses == 0
    site.lose_store()
    (site.folder / FILE).unlink()
    await site.positions.save("gateway/stamps", Position(0, 1, ""))
    await site.runs()
    assert site.losses == 0


async def test_a_store_that_was_lost_is_told_once_with_what_comes_back(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.runs()
    before = site.name
    site.lose_store()
    with caplog.at_level(logging.WARNING):
        await site.runs(turns=2)
        await site.runs()
    assert site.losses == 1
    assert site.name != before
    (told,) = [record.getMessage() for record in caplog.records]
    assert "the store of this site is new" in told
    assert "comes down again" in told
    assert "history of time series" in told


async def test_an_empty_store_beside_a_log_with_a_past_is_lost_though_the_folder_is_new(
    site: Site,
) -> None:
    site.log.committed = 4
    await site.runs()
    assert site.losses == 1
    await site.runs()
    assert site.losses == 1


async def test_an_older_copy_of_the_store_is_told_and_gets_a_new_identity(site: Site) -> None:
    await site.runs()
    copy = dict(site.positions.saved)
    before = site.name
    await site.runs(turns=2)
    site.positions.saved = copy
    await site.runs()
    assert site.losses == 1
    assert site.name != before
    await site.runs()
    assert site.losses == 1


async def test_another_sites_store_is_told_and_gets_a_new_identity(site: Site) -> None:
    await site.runs()
    await site.positions.save(INCARNATION, Position(0, 99, "another"))
    await site.runs()
    assert site.losses == 1
    assert site.name != "another"


async def test_a_kill_between_store_and_folder_loses_nothing(site: Site) -> None:
    await site.runs()
    kept = (site.folder / FILE).read_bytes()
    await site.runs(turns=1)
    (site.folder / FILE).write_bytes(kept)
    await site.runs()
    assert site.losses == 0


async def test_a_store_or_a_log_that_is_away_keeps_no_site_from_starting(site: Site) -> None:
    site.positions.away = True
    await site.runs()
    site.positions.away, site.log.away = False, True
    await site.runs()
    assert site.losses == 0


async def test_a_name_that_the_operator_writes_has_all_exchanged(site: Site) -> None:
    await site.runs()
    before = site.name
    (site.folder / FILE).write_text('["lost", 0]')
    await site.runs()
    assert site.losses == 1
    assert site.name != before


async def test_a_damaged_file_is_made_anew(site: Site) -> None:
    await site.runs()
    (site.folder / FILE).write_text("{")
    await site.runs()
    assert site.losses == 0
    assert site.name in (site.folder / FILE).read_text()
