"""No file is longer than one can hold in mind at once."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_LINES = 400


def test_no_file_is_too_long() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in ("services", "tests")
        for path in (ROOT / folder).rglob("*.py")
        if not path.stem.endswith(("_pb2", "_pb2_grpc"))
    }
    assert lines
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}
