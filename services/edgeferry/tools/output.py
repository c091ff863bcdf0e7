"""How tools speak: for a person by default, one JSON document with ``--json``; errors go
to stderr with exit code 1."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import click
import orjson
from rich.console import Console
from rich.table import Table

from edgeferry.core.errors import EdgeferryError

P = ParamSpec("P")
T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


def asynchronous(command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """A click command from a coroutine function; our errors become one clear line."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return asyncio.run(command(*args, **kwargs))
        except EdgeferryError as error:
            raise click.ClickException(str(error)) from error
        except BaseExceptionGroup as group:
            ours, others = group.split(EdgeferryError)
            if ours is None or others is not None:
                raise
            raise click.ClickException("\n".join(map(str, _single(ours)))) from group

    return run


def print_json(document: object) -> None:
    """One line."""
    click.echo(orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS).decode())


def print_table(columns: Sequence[str], rows: Iterable[Iterable[object]], title: str = "") -> None:
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)


def _single(group: BaseExceptionGroup[EdgeferryError]) -> Iterable[EdgeferryError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _single(error)
        else:
            yield error
