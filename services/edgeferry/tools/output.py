"""How tools speak: for a person by default, one JSON document with ``--json``; errors go
to stderr with exit code 1."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click
import orjson

from edgeferry.core.errors import EdgeferryError
from edgeferry.runtime.file_problem import file_problem

P = ParamSpec("P")
T = TypeVar("T")

_WIDEST = 100_000

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


def asynchronous(command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """A click command from a coroutine function; our errors become one clear line."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with told_errors():
            return asyncio.run(command(*args, **kwargs))

    return run


@contextmanager
def told_errors() -> Iterator[None]:
    """Our errors, and what the system refuses of a file, become one clear line and exit
    code 1."""
    # A library's warnings are nobody's to act on, where nothing writes a log.
    logging.getLogger("aiokafka").addHandler(logging.NullHandler())
    try:
        yield
    except (EdgeferryError, OSError) as error:
        text = _told(error)
        if text is None:
            raise
        raise click.ClickException(text) from error
    except BaseExceptionGroup as group:
        texts = [_told(error) for error in _single(group)]
        if None in texts:
            raise
        lines = dict.fromkeys(filter(None, texts))
        raise click.ClickException("\n".join(lines)) from group


def print_json(document: object) -> None:
    """One line."""
    click.echo(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS).decode())


def print_table(columns: Sequence[str], rows: Iterable[Iterable[object]], title: str = "") -> None:
    """As wide as its cells, whatever the terminal or pipe: an id or token that is cut or
    broken over two lines is of no use."""
    from rich.console import Console  # a tenth of a second, which `up` does not spend
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(one_line(str(cell))) for cell in row))
    console = Console(width=_WIDEST)
    needed = Measurement.get(console, console.options, table).maximum
    Console(width=max(needed, len(title)), soft_wrap=True).print(table)


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """A line for each field; further lines of a text stand below its first."""
    shown = [(name, str(value)) for name, value in fields]
    width = max((len(name) for name, _ in shown), default=0) + 2
    for name, value in shown:
        first, *more = value.splitlines() or [""]
        click.echo(f"{name:<{width}}{one_line(first)}")
        for line in more:
            click.echo(" " * width + one_line(line))


def one_line(text: str) -> str:
    """What a terminal would obey, or break the line for, is shown instead."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, most: int = 300) -> str:
    """Of something that somebody gave, for a message about it."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def moment(ms: int) -> str:
    """A time in UTC, to the millisecond; the number alone when no calendar has it."""
    try:
        at = datetime.fromtimestamp(ms / 1000, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return f"{ms} ms"
    return f"{at:%Y-%m-%d %H:%M:%S}.{ms % 1000:03}Z"


def byte_size(count: int) -> str:
    """Such as 76.7 GiB."""
    size, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def time_span(seconds: float) -> str:
    """In the two largest units that it has, such as 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, length, smaller, part in (
        ("d", 86_400, "h", 3_600),
        ("h", 3_600, "min", 60),
        ("min", 60, "s", 1),
    ):
        if seconds >= length:
            rest = int(seconds % length) // part
            return f"{int(seconds // length)} {unit}" + (f" {rest} {smaller}" if rest else "")
    raise AssertionError(seconds)


def _told(error: BaseException) -> str | None:
    """None for what is no operator's to mend."""
    if isinstance(error, EdgeferryError):
        return str(error)
    return file_problem(error) if isinstance(error, OSError) else None


def _single(group: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _single(error)
        else:
            yield error
