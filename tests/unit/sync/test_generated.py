"""The generated protobuf code is that of schemas/sync.proto."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GENERATED = ROOT / "services" / "edgeferry" / "sync"


@pytest.mark.parametrize("name", ["sync_pb2.py", "sync_pb2.pyi"])
def test_generated_code_is_fresh(name: str, tmp_path: Path) -> None:
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", f"--plugin=protoc-gen-mypy={plugin}",
            "-I", str(ROOT / "schemas"), f"--python_out={tmp_path}", f"--mypy_out={tmp_path}",
            str(ROOT / "schemas" / "sync.proto"),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    fresh = (tmp_path / name).read_text()
    assert fresh == (GENERATED / name).read_text(), "generate it as schemas/sync.proto says"
