"""What a site's process says of itself once it is ready."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Ready:
    """Addresses as host:port; empty where this process does not listen."""

    role: str
    site: str
    pid: int
    http: str
    mqtt: str
    sync: str
    services: tuple[str, ...]

    def line(self) -> dict[str, object]:
        return {"ready": True, **asdict(self)}


def ready_file(path: Path, ready: Ready) -> Callable[[], None]:
    """Write it whole, for a supervisor that waits for the file; what takes it away again."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_bytes(orjson.dumps(ready.line()) + b"\n")
    beside.replace(path)
    return lambda: path.unlink(missing_ok=True)
