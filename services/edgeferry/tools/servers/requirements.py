"""What the machine must have: Java 17 to run the servers, Maven to fetch them once."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from edgeferry.tools.supervise import StartFailed

JAVA = 17
"""Cassandra 5.0 runs on Java 17 at most, Kafka 4 on Java 17 at least."""

DEBIAN_JVMS = Path("/usr/lib/jvm")


class MissingProgram(StartFailed):
    """A program that the servers need is not on this machine; the text says what to install."""


def find_java(jvms: Path = DEBIAN_JVMS) -> str:
    """The path of a Java 17: JAVA_HOME's, else the one on PATH, else one below ``jvms``."""
    candidates = [
        Path(os.environ["JAVA_HOME"], "bin", "java") if os.environ.get("JAVA_HOME") else None,
        shutil.which("java"),
        *sorted(jvms.glob(f"*{JAVA}*/bin/java")),
    ]
    seen = []
    for java in filter(None, candidates):
        version = _major_version(str(java))
        if version == JAVA:
            return str(java)
        if version is not None:
            seen.append(f"{java} is Java {version}")
    raise MissingProgram(
        f"Kafka and Cassandra need Java {JAVA}{''.join(f'; {what}' for what in seen)}. "
        f"Install it (Debian, Ubuntu: apt-get install openjdk-{JAVA}-jre-headless) "
        "or let JAVA_HOME point to it."
    )


def find_maven() -> str:
    """The path of Maven's command."""
    found = shutil.which("mvn")
    if found is None:
        raise MissingProgram(
            "Maven is needed to fetch Kafka and Cassandra once. "
            "Install it (Debian, Ubuntu: apt-get install maven)."
        )
    return found


def _major_version(java: str) -> int | None:
    try:
        said = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=False
        ).stderr
    except OSError:
        return None
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else None
