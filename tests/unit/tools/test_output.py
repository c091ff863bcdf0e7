"""How tools speak to people."""

import errno

import click
import pytest

from edgeferry.core.errors import LogUnavailable, Stop
from edgeferry.tools.output import (
    byte_size,
    moment,
    one_line,
    print_fields,
    print_table,
    time_span,
    told_errors,
)


def nowhere() -> OSError:
    return NotADirectoryError(errno.ENOTDIR, "Not a directory", "/dev/null/data")


@pytest.mark.parametrize(
    "error",
    [
        nowhere(),
        ExceptionGroup("of tasks", [nowhere(), ExceptionGroup("below", [nowhere()])]),
    ],
)
def test_what_the_system_refuses_of_a_file_is_one_line(error: Exception) -> None:
    with (
        pytest.raises(click.ClickException, match=r"^cannot use /dev/null/data: Not a dir.*$"),
        told_errors(),
    ):
        raise error


def test_errors_of_many_tasks_are_told_each_once() -> None:
    errors = [Stop("one"), LogUnavailable("two"), Stop("one")]
    with pytest.raises(click.ClickException, match=r"^one\ntwo$"), told_errors():
        raise ExceptionGroup("of tasks", errors)


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        OSError(errno.EBADF, "Bad file descriptor"),
        ExceptionGroup("of tasks", [Stop("ours"), ZeroDivisionError()]),
    ],
)
def test_a_fault_of_ours_keeps_its_trace(error: Exception) -> None:
    with pytest.raises(type(error)), told_errors():
        raise error


def test_no_cell_is_cut_or_broken_however_wide(capsys: pytest.CaptureFixture[str]) -> None:
    token, name = "t" * 200, "[bold]pump[/]"
    print_table(("name", "token"), [(name, token)], title="a title " * 40)
    shown = capsys.readouterr().out
    assert token in shown
    assert name in shown
    assert "a title " * 39 in shown


def test_fields_stand_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields([("what", "one\ntwo"), ("a", 1), ("empty", "")])
    assert capsys.readouterr().out == "what   one\n       two\na      1\nempty  \n"


def test_what_a_terminal_would_obey_is_shown() -> None:
    assert one_line("plain \u00e4 text") == "plain \u00e4 text"
    assert one_line("a\nb\x1b[2Jc") == "a\\nb\\x1b[2Jc"


def test_times_are_utc_to_the_millisecond() -> None:
    assert moment(1_700_000_000_007) == "2023-11-14 22:13:20.007Z"


def test_sizes_and_times_are_told_for_people() -> None:
    sizes = [byte_size(count) for count in (0, 1023, 1024, 82_352_332_800, 5 * 1024**4)]
    assert sizes == ["0 bytes", "1023 bytes", "1.0 KiB", "76.7 GiB", "5.0 TiB"]
    spans = [time_span(seconds) for seconds in (0, 59.94, 60, 125, 3_600, 7_500, 90_000)]
    assert spans == ["0.0 s", "59.9 s", "1 min", "2 min 5 s", "1 h", "2 h 5 min", "1 d 1 h"]
