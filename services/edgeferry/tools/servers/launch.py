"""What differs between the servers: how each is set up, run and asked whether it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Protocol

from edgeferry.tools.servers.jars import SETUP


def mark(folder: Path) -> str:
    """The argument by which the process of the server in ``folder`` is told from any other."""
    return f"-Dedgeferry.folder={folder}"


@dataclass(frozen=True, slots=True)
class Launch:
    """One start. ``folder`` holds all that the server keeps, ``heap`` is Java's (such as 1G)."""

    java: str
    jars: Path
    folder: Path
    logs: Path
    ports: Mapping[str, int]
    heap: str

    def java_command(self) -> list[str]:
        """Java with what every server wants; nothing is written outside the folder."""
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        return [
            self.java,
            f"-Xmx{self.heap}",
            "-XX:-UsePerfData",
            "-XX:+ExitOnOutOfMemoryError",
            f"-XX:ErrorFile={self.logs}/java-crash-%p.log",
            "-Djava.awt.headless=true",
            "-Djava.net.preferIPv4Stack=true",
            f"-Djava.io.tmpdir={temporary}",
            f"-Dedgeferry.logs={self.logs}",
            mark(self.folder),
        ]

    def fill(self, template: str) -> Path:
        """Write a template of ``setup`` into the folder; the path written."""
        filled = self.folder / template
        text = Template((SETUP / template).read_text())
        filled.write_text(text.substitute(self.ports, folder=self.folder))
        return filled

    def copy(self, name: str) -> Path:
        """Write a file of ``setup`` into the folder as it is; the path written."""
        copied = self.folder / name
        copied.write_bytes((SETUP / name).read_bytes())
        return copied


class Kind(Protocol):
    """One of the servers. ``ports``: names of the ports it wants; clients use the first."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def heap(self) -> str: ...

    @property
    def ports(self) -> Sequence[str]: ...

    def first_start(self, launch: Launch) -> list[str] | None:
        """A command that must run before the very first start, if any."""
        ...

    def command(self, launch: Launch) -> list[str]:
        """Write the settings; the command that runs the server in the foreground."""
        ...

    async def ask(self, host: str, port: int) -> None:
        """Return when the server answered a real request. Raises OSError, Later."""
        ...
