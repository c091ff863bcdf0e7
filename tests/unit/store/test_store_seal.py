"""The key of the credentials: private, made once, and without it nothing is shown."""

import errno
from pathlib import Path

import pytest

from edgeferry.core.clock import ManualClock
from edgeferry.core.errors import StoreUnavailable, StoreUnusable
from edgeferry.core.ids import new_entity_id
from edgeferry.runtime.settings import StoreSettings
from edgeferry.store import open_store
from edgeferry.store.seal import KEY_FILE, Seal
from tests.disks import nothing_can_be_opened
from tests.unit.store.behaviour_entities import credentials
from tests.unit.store.bench import DEVICE, T
from tests.unit.store.sqlite_stores import store_in

OWNER = new_entity_id()
KEY = (DEVICE, OWNER)


async def keep(folder: Path) -> None:
    store = store_in(folder)
    await store.start()
    await store.entities.save_credentials(credentials(OWNER, "very secret"))
    await store.stop()


@pytest.mark.asyncio
async def test_the_stores_file_alone_gives_no_token_away(tmp_path: Path) -> None:
    await keep(tmp_path)
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    files = list(tmp_path.glob("store.db*"))
    assert files
    assert not any(b"very secret" in file.read_bytes() for file in files)


@pytest.mark.asyncio
async def test_a_tool_beside_the_site_reads_with_its_key(tmp_path: Path) -> None:
    await keep(tmp_path)
    tool = store_in(tmp_path, read_only=True)
    await tool.start()
    assert await tool.entities.with_token("very secret") == KEY
    (tmp_path / KEY_FILE).unlink()
    await tool.stop()
    await tool.start()
    await tool.stop()
    assert not (tmp_path / KEY_FILE).exists()


@pytest.mark.asyncio
async def test_another_key_is_told_from_the_right_one(tmp_path: Path) -> None:
    await keep(tmp_path)
    key = (tmp_path / KEY_FILE).read_text()
    (tmp_path / KEY_FILE).write_text("00" * 32)
    store = store_in(tmp_path)
    with pytest.raises(StoreUnusable, match="sealed with another key"):
        await store.start()
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / KEY_FILE).write_text(key)
    await store.start()
    assert await store.entities.with_token("very secret") == KEY
    await store.stop()


@pytest.mark.asyncio
async def test_a_key_may_come_from_elsewhere(tmp_path: Path) -> None:
    await keep(tmp_path)
    elsewhere = (tmp_path / KEY_FILE).rename(tmp_path / "a secret")
    store = open_store(
        settings=StoreSettings(credentials_key_file=elsewhere), data=tmp_path, clock=ManualClock(T)
    )
    await store.start()
    assert await store.entities.with_token("very secret") == KEY
    await store.stop()
    assert not (tmp_path / KEY_FILE).exists()


@pytest.mark.parametrize("text", ["", "00", "no digits", "ä"])
@pytest.mark.asyncio
async def test_a_broken_key_stops_the_start(tmp_path: Path, text: str) -> None:
    (tmp_path / KEY_FILE).write_text(text, encoding="latin-1")
    store = store_in(tmp_path)
    with pytest.raises(StoreUnusable, match="restore it from a backup"):
        await store.start()
    (tmp_path / KEY_FILE).unlink()
    await store.start()
    await store.stop()


def test_the_key_that_was_made_first_stays(tmp_path: Path) -> None:
    seals = [Seal(tmp_path / "data" / KEY_FILE) for _ in range(2)]
    for seal in seals:
        seal.open()
    assert seals[0].hash("token") == seals[1].hash("token")
    sealed = seals[0].close(KEY, "text")
    assert seals[1].reveal(KEY, sealed) == "text"
    with pytest.raises(StoreUnusable):
        seals[1].reveal((DEVICE, new_entity_id()), sealed)
    assert [file.name for file in (tmp_path / "data").iterdir()] == [KEY_FILE]


def test_without_a_key_nothing_can_be_asked(tmp_path: Path) -> None:
    seal = Seal(tmp_path / KEY_FILE)
    seal.open(make=False)
    with pytest.raises(StoreUnavailable, match="no key"):
        seal.hash("token")


def test_a_full_disk_is_told_when_the_key_is_made(tmp_path: Path) -> None:
    seal = Seal(tmp_path / KEY_FILE)
    with (
        nothing_can_be_opened(errno.ENOSPC),
        pytest.raises(StoreUnavailable, match="free space on its disk"),
    ):
        seal.open()
    assert list(tmp_path.iterdir()) == []
    seal.open()
