"""What a command writes: answers on standard output, as text or as one JSON object; remarks on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

# Where nobody's terminal says how wide a line may be, tables keep theirs.
_PIPE_WIDTH = 200


def show(*parts: RenderableType) -> None:
    """Lines and tables for people; colours and the width of the window only on a terminal."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, highlight=False, width=_PIPE_WIDTH, no_color=True)
    for part in parts:
        console.print(escape(part) if isinstance(part, str) else part, soft_wrap=isinstance(part, str))


def emit(answer: Any) -> None:
    """One JSON object; numbers that JSON lacks are null."""
    print(json.dumps(_plain(answer), indent=1, ensure_ascii=False, allow_nan=False))


def remark(text: str) -> None:
    """A line beside the answer, on standard error."""
    print(text, file=sys.stderr)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> Table:
    """A table whose columns of numbers stand to the right."""
    values = [list(row) for row in rows]
    made = Table(title=None if title is None else escape(title), title_justify="left")
    for i, name in enumerate(header):
        numbers = all(isinstance(row[i], (int, float, type(None))) for row in values)
        made.add_column(escape(name), justify="right" if numbers else "left")
    for row in values:
        made.add_row(*(escape(_cell(value)) for value in row))
    return made


@contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """Tell what comes out how many of how many are done: a bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def listed(values: Sequence[Any], limit: int = 5) -> str:
    """The first values and how many more there are.

    >>> listed(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    more = len(values) - limit
    return ", ".join(map(str, values[:limit])) + (f" and {more} more" if more > 0 else "")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
