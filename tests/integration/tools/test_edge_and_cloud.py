"""``edgeferry cloud`` and ``edgeferry edge``, each a process alone, joined by one command."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeferry.core.clock import SystemClock
from edgeferry.runtime.settings import load_settings
from tests.integration.tools.ends import Ends, edgeferry, running, until

pytestmark = pytest.mark.asyncio
EDGE_PORTS = ("--http=0", "--mqtt=0")
CLOUD_PORTS = (*EDGE_PORTS, "--sync=0")


@asynccontextmanager
async def cloud(folder: Path, *options: str) -> AsyncIterator[dict[str, Any]]:
    async with running(folder / "cloud.err", "cloud", "--data", str(folder), *options) as started:
        yield started[1]


@asynccontextmanager
async def edge(
    folder: Path, *options: str, environment: dict[str, str] | None = None
) -> AsyncIterator[dict[str, Any]]:
    async with running(
        folder / "edge.err", "edge", "--data", str(folder), *options, environment=environment
    ) as started:
        yield started[1]


async def edges(settings: str, *arguments: str) -> Any:
    ended = await edgeferry("edges", *arguments, "--settings", settings, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


async def device(settings: str) -> dict[str, str]:
    ended = await edgeferry("devices", "add", "pump", "--settings", settings, "--json")
    assert ended.returncode == 0, ended.stderr
    found: dict[str, str] = json.loads(ended.stdout)
    return found


async def linked(ready: dict[str, Any]) -> None:
    """Until the Edge is connected."""

    def detail() -> str | None:
        try:
            return str(
                httpx.get(f"http://{ready['http']}/readyz").json()["parts"]["sync"]["detail"]
            )
        except httpx.TransportError:
            return None

    await until(lambda: detail() == "")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "c").mkdir()
    (tmp_path / "e").mkdir()
    return tmp_path / "c", tmp_path / "e"


async def test_an_edge_joins_by_the_command_that_the_cloud_prints_and_goes_on_without_it(
    folders: tuple[Path, Path],
) -> None:
    here, there = folders
    now = SystemClock().now_ms()
    async with httpx.AsyncClient() as client, cloud(here, *CLOUD_PORTS) as at:
        added = await edges(at["settings"], "add", "north")
        assert (added["cloud"], added["fingerprint"]) == (at["address"], at["fingerprint"])
        _, _, *words = shlex.split(added["command"])
        async with edge(there, *EDGE_PORTS, *words) as ready:
            ends = Ends(
                ready["http"],
                at["http"],
                await device(ready["settings"]),
                {"edge": there / "edge/admin-password", "cloud": here / "cloud/admin-password"},
            )
            await linked(ready)
            await ends.publish(client, {"ts": now, "values": {"temperature": 21.5}})
            await ends.until_read(client, "temperature", now, "21.5")
        secret = there / "edge" / "secret"
        assert secret.read_text().strip() == added["secret"]
        assert secret.stat().st_mode & 0o777 == 0o600
        assert added["secret"] not in Path(ready["settings"]).read_text()
        async with edge(there) as again:
            await linked(again)
            ends = Ends(
                again["http"], at["http"], ends.device, {"cloud": here / "cloud/admin-password"}
            )
            await ends.publish(client, {"ts": now + 1, "values": {"temperature": 22}})
            await ends.until_read(client, "temperature", now + 1, "22")


async def test_a_wrong_value_is_told_and_nothing_of_it_is_kept(
    folders: tuple[Path, Path],
) -> None:
    here, there = folders
    async with cloud(here, *CLOUD_PORTS) as at:
        added = await edges(at["settings"], "add", "north")
        removed = await edges(at["settings"], "add", "south")
        await edges(at["settings"], "remove", "south")
        right = {name: added[name] for name in ("cloud", "key", "secret", "fingerprint")}
        gone = {name: removed[name] for name in ("key", "secret")}
        for wrong, said in (
            ({"cloud": "no.such.host.invalid:7070"}, "there is no host"),
            ({"cloud": "127.0.0.1:9"}, "127.0.0.1:9 does not answer (Connection refused)"),
            ({"cloud": "127.0.0.1"}, "is no address: give host:port"),
            ({"cloud": at["mqtt"]}, "is not the sync port of an Edgeferry Cloud"),
            ({"cloud": at["http"]}, "is not the sync port of an Edgeferry Cloud"),
            ({"key": "guessed"}, "no edge has the key 'guessed'"),
            ({"secret": "guessed"}, "the secret of edge 'north' is wrong"),
            ({"fingerprint": f"sha256:{'0' * 64}"}, "another Cloud, or someone in between"),
            ({"fingerprint": "sha256:12"}, "is no fingerprint"),
            ({"fingerprint": ""}, "give the --fingerprint"),
            (gone, "edge 'south' was removed in the Cloud"),
            ({"secret": ""}, "--secret is missing"),
        ):
            given = {**right, **wrong}
            words = [f"--{name}={value}" for name, value in given.items() if value]
            ended = await edgeferry("edge", "--data", str(there), *EDGE_PORTS, *words)
            assert ended.returncode == 1, (wrong, ended.stderr)
            assert said in ended.stderr
            assert len(ended.stderr.splitlines()) == 1
            assert {path.name for path in (there / "edge").iterdir()} == {"lock"}


async def test_a_secret_need_not_stand_in_the_list_of_processes(
    folders: tuple[Path, Path],
) -> None:
    here, there = folders
    async with cloud(here, *CLOUD_PORTS) as at:
        added = await edges(at["settings"], "add", "north")
        words = [f"--{name}={added[name]}" for name in ("cloud", "key", "fingerprint")]
        environment = {"EDGEFERRY_EDGE_SECRET": added["secret"]}
        async with edge(there, *EDGE_PORTS, *words, environment=environment) as ready:
            await linked(ready)
        file = there / "enrol.json"
        file.write_text(json.dumps(added))
        async with edge(there, "--enrol", str(file)) as ready:
            await linked(ready)
        wrong = await edgeferry(
            "edge", "--data", str(there), *words, "--secret", "-", said="guessed\n"
        )
        assert wrong.returncode == 1
        assert "the secret of edge 'north' is wrong" in wrong.stderr
        rotated = await edges(at["settings"], "rotate", "north")
        async with edge(there, *shlex.split(rotated["command"])[2:-1]) as ready:
            await linked(ready)


async def test_a_new_secret_is_given_to_an_edge_that_runs_and_to_one_that_does_not(
    folders: tuple[Path, Path],
) -> None:
    here, there = folders
    async with cloud(here, *CLOUD_PORTS) as at:
        words = shlex.split((await edges(at["settings"], "add", "north"))["command"])[2:]
        kept = await edgeferry("edge", "--data", str(there), *EDGE_PORTS, *words, "--enrol-only")
        assert kept.returncode == 0, kept.stderr
        async with edge(there) as ready:
            await linked(ready)
            rotated = await edges(at["settings"], "rotate", "north")
            await until(lambda: "is not right any more" in (there / "edge.err").read_text())
            assert "was removed" not in (there / "edge.err").read_text()
            wrong = await edgeferry(
                "edge", "--data", str(there), "--secret", "guessed", "--enrol-only"
            )
            assert wrong.returncode == 1
            assert "the secret of edge 'north' is wrong" in wrong.stderr
            taken = await edgeferry(
                "edge", "--data", str(there), *shlex.split(rotated["command"])[2:]
            )
            assert taken.returncode == 0, taken.stderr
            await linked(ready)


async def test_an_edge_that_was_removed_comes_back_with_what_waited(
    folders: tuple[Path, Path],
) -> None:
    here, there = folders
    now = SystemClock().now_ms()
    async with httpx.AsyncClient() as client, cloud(here, *CLOUD_PORTS) as at:
        added = await edges(at["settings"], "add", "north")
        words = shlex.split(added["command"])[2:]
        async with edge(there, *EDGE_PORTS, *words) as ready:
            logins = {"edge": there / "edge/admin-password", "cloud": here / "cloud/admin-password"}
            ends = Ends(ready["http"], at["http"], await device(ready["settings"]), logins)
            await ends.publish(client, {"ts": now, "values": {"temperature": 21.5}})
            await ends.until_read(client, "temperature", now, "21.5")
            await edges(at["settings"], "remove", "north")
            await until(lambda: "was removed in the Cloud" in (there / "edge.err").read_text())
            await ends.publish(client, {"ts": now + 1, "values": {"temperature": 22}})
        again = await edges(at["settings"], "add", "north")
        assert again["id"] == added["id"]
        async with edge(there, *shlex.split(again["command"])[2:]) as ready:
            ends = Ends(ready["http"], at["http"], ends.device, logins)
            await ends.until_read(client, "temperature", now + 1, "22")
            await ends.publish(client, {"ts": now + 2, "values": {"temperature": 23}})
            await ends.until_read(client, "temperature", now + 2, "23")
        letters = await edgeferry(
            "dead-letters", "list", "--settings", str(at["settings"]), "--json"
        )
        assert json.loads(letters.stdout) == []


async def test_devices_are_assigned_to_an_edge_by_name(folders: tuple[Path, Path]) -> None:
    here, there = folders
    async with cloud(here, *CLOUD_PORTS) as at:
        words = shlex.split((await edges(at["settings"], "add", "north"))["command"])[2:]
        mine = await device(at["settings"])
        async with edge(there, *EDGE_PORTS, *words) as ready:
            await linked(ready)
            unknown = await edgeferry(
                "edges", "assign", "north", "pump", "nobody", "--settings", at["settings"]
            )
            assert unknown.returncode == 1
            done = await edges(at["settings"], "assign", "north", "pump")
            assert done == [{"name": "pump", "id": mine["id"], "edge": "north"}]
            assert await edges(at["settings"], "sync", "north") == {
                "id": (await edges(at["settings"], "list"))[0]["id"],
                "name": "north",
                "devices": 1,
            }

            async def there_are() -> list[str]:
                listed = await edgeferry(
                    "devices", "list", "--settings", ready["settings"], "--json"
                )
                return [row["token"] for row in json.loads(listed.stdout)]

            async with asyncio.timeout(30):
                while await there_are() != [mine["token"]]:
                    pass
            await edges(at["settings"], "unassign", "north", "pump")
            async with asyncio.timeout(30):
                while await there_are():
                    pass


async def test_an_edge_may_be_enrolled_before_its_cloud_can_be_reached(
    folders: tuple[Path, Path],
) -> None:
    here, there = folders
    now = SystemClock().now_ms()
    async with cloud(here, *CLOUD_PORTS) as at:
        added = await edges(at["settings"], "add", "north")
    _, _, *words = shlex.split(added["command"])
    refused = await edgeferry("edge", "--data", str(there), *EDGE_PORTS, *words)
    assert refused.returncode == 1
    assert "--offline enrols without it" in refused.stderr
    async with (
        httpx.AsyncClient() as client,
        edge(there, *EDGE_PORTS, *words, "--offline") as ready,
    ):
        logins = {"edge": there / "edge/admin-password", "cloud": here / "cloud/admin-password"}
        mine = await device(ready["settings"])
        alone = Ends(ready["http"], "127.0.0.1:9", mine, logins)
        await alone.publish(client, {"ts": now, "values": {"temperature": 21.5}})
        await alone.until_read(client, "temperature", now, "21.5", site="edge")
        async with cloud(here) as at:
            ends = Ends(ready["http"], at["http"], mine, logins)
            await ends.until_read(client, "temperature", now, "21.5")


async def test_an_edge_stays_the_one_that_its_folder_holds(folders: tuple[Path, Path]) -> None:
    here, there = folders
    async with cloud(here, *CLOUD_PORTS) as at:
        first, second = [await edges(at["settings"], "add", name) for name in ("one", "two")]
        async with edge(there, *EDGE_PORTS, *shlex.split(first["command"])[2:]) as ready:
            holder = ready["pid"]
            ended = await edgeferry("edge", "--data", str(there))
            assert ended.returncode == 1
            assert f"in use by another Edgeferry (process {holder})" in ended.stderr
        ended = await edgeferry("edge", "--data", str(there), *shlex.split(second["command"])[2:])
        assert ended.returncode == 1
        assert "enrol it in another folder with --data" in ended.stderr
        other = ("--offline", "--enrol-only", *shlex.split(second["command"])[2:])
        ended = await edgeferry("edge", "--data", str(there), *other, "--again")
        assert ended.returncode == 0, ended.stderr
        kept = load_settings(Path(ready["settings"]), environ={}).sync
        assert kept.edge_key == second["key"]
        words = shlex.split(first["command"])[2:]
        ended = await edgeferry("edge", "--data", str(there), *words, "--again", "--enrol-only")
        assert ended.returncode == 0, ended.stderr
        ended = await edgeferry("edge", "--data", str(there), "--log=kafka", "--kafka=127.0.0.1:9")
        assert ended.returncode == 1
        assert "its log in SQLite, not in the Kafka at 127.0.0.1:9" in ended.stderr
        kept = load_settings(Path(ready["settings"]), environ={}).sync
        assert (kept.edge_key, kept.address) == (first["key"], first["cloud"])


async def test_a_new_folder_says_how_an_edge_is_enrolled(tmp_path: Path) -> None:
    ended = await edgeferry("edge", "--data", str(tmp_path))
    assert ended.returncode == 1
    assert "`edgeferry edges add NAME` in the Cloud prints the command" in ended.stderr
