"""Files of a site are its owner's alone."""

import stat
import subprocess
import sys
from pathlib import Path

from edgeferry.files.private import make_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_others_could_read_they_no_longer_can(tmp_path: Path) -> None:
    folder = tmp_path / "edge"
    folder.mkdir(mode=0o755)
    for name in ("log.db", "store.db"):
        (folder / name).touch()
        (folder / name).chmod(0o644)
    (folder / "run").touch()
    (folder / "run").chmod(0o755)
    make_private(folder)
    assert mode(folder) == 0o700
    assert mode(folder / "log.db") == mode(folder / "store.db") == 0o600
    assert mode(folder / "run") == 0o700


def test_a_link_and_a_folder_of_everybody_stay_as_they_are(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    outside.chmod(0o644)
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    make_private(folder)
    assert mode(outside) == 0o644

    everybodys = tmp_path / "tmp"
    everybodys.mkdir()
    everybodys.chmod(0o1777)
    make_private(everybodys)
    assert mode(everybodys) == 0o1777
    make_private(tmp_path / "nowhere")


def test_what_a_process_makes_is_private(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from edgeferry.files.private import keep_private\n"
        "keep_private(); made = Path(sys.argv[1]); made.mkdir(); (made / 'log.db').touch()"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "site")], check=True)
    assert mode(tmp_path / "site") == 0o700
    assert mode(tmp_path / "site" / "log.db") == 0o600
