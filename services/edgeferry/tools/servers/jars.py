"""Fetches the servers' jars once, through Maven, and checks every one against its pinned hash.

``setup/NAME.pom.xml`` pins the versions, ``setup/NAME.sha256`` the jars. A folder of the cache
is named after the hash of that list and complete as soon as it exists.
"""

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import as_file, files
from pathlib import Path

from edgeferry.tools.servers.locked import locked
from edgeferry.tools.servers.requirements import find_maven
from edgeferry.tools.supervise import StartFailed

SETUP = files("edgeferry.tools.servers") / "setup"

_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_SAID_LINES = 15


class FetchFailed(StartFailed):
    """Maven could not bring the jars, or brought others than the pinned ones."""


def default_cache() -> Path:
    """$EDGEFERRY_CACHE, else edgeferry in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("EDGEFERRY_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeferry"


async def fetch(name: str, title: str, cache: Path, say: Callable[[str], None]) -> Path:
    """The folder with exactly the pinned jars of the server ``name``.

    Raises MissingProgram, FetchFailed.
    """
    pinned = (SETUP / f"{name}.sha256").read_text()
    folder = cache / "jars" / f"{name}-{hashlib.sha256(pinned.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    async with locked(cache / f"{name}.lock"):
        if not folder.is_dir():
            maven = find_maven()
            say(f"Fetching {title} into {folder} (once) ...")
            folder.parent.mkdir(exist_ok=True)
            fetched = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
            try:
                await _copy_dependencies(maven, name, fetched)
                await asyncio.to_thread(_verify, fetched, _hashes(pinned))
                fetched.rename(folder)
            finally:
                shutil.rmtree(fetched, ignore_errors=True)
    return folder


async def _copy_dependencies(maven: str, name: str, folder: Path) -> None:
    with as_file(SETUP / f"{name}.pom.xml") as pom:
        process = await asyncio.create_subprocess_exec(
            *(maven, "--batch-mode", "--quiet", "-Dstyle.color=never", "--file", str(pom), _GOAL),
            *("-DincludeScope=runtime", f"-DoutputDirectory={folder}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await process.communicate()
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
    if process.returncode:
        lines = said.decode(errors="replace").splitlines()[:_SAID_LINES]
        raise FetchFailed(
            f"Maven could not fetch {name} (is the network there? Maven's own settings, such as "
            "a mirror or a proxy, are in ~/.m2/settings.xml):\n" + "\n".join(lines)
        )


def _hashes(pinned: str) -> dict[str, str]:
    lines = (line.split() for line in pinned.splitlines())
    return {jar: digest for digest, jar in lines}


def _verify(folder: Path, pinned: dict[str, str]) -> None:
    found = {path.name: _sha256(path) for path in folder.iterdir()}
    problems = [
        *(f"{jar}: missing" for jar in sorted(pinned.keys() - found.keys())),
        *(f"{jar}: not in the list" for jar in sorted(found.keys() - pinned.keys())),
        *(
            f"{jar}: SHA-256 is {found[jar]}, pinned is {pinned[jar]}"
            for jar in sorted(pinned.keys() & found.keys())
            if found[jar] != pinned[jar]
        ),
    ]
    if problems:
        raise FetchFailed(
            "Maven brought other jars than the pinned ones; nothing was kept. Remove the named "
            "ones from Maven's own repository (~/.m2) and try again:\n" + "\n".join(problems)
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
