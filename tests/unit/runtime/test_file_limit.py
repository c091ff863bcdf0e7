"""The limit of open files, in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from edgeferry.runtime.file_limit import connections_allowed, raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
raise_file_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], connections_allowed())
"""


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "connections"),
    [(256, 1_024, 1_024, 524), (900, 900, 900, 450), (64, 512, 512, 256)],
)
def test_it_is_raised_as_far_as_may_be_and_leaves_room_for_files(
    soft: int, hard: int, raised: int, connections: int
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.split() == [str(raised), str(connections)]
