"""What lies in the folder of a data set: official files, or the normalised layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import polars as pl

from hpgr.core.errors import ConfigError, DataError
from hpgr.data.columns import Columns
from hpgr.data.history_rule import HistoryRule
from hpgr.data.keyed_draws import KeyedDraws
from hpgr.data.log import EventLog
from hpgr.data.ordering import stable_codes
from hpgr.data.sessions import IdleGap
from hpgr.data.sources import Source

INTERACTIONS, ITEMS = "interactions.parquet", "items.parquet"
Ties = Literal["file", "set", "permuted"]


def is_normalised(folder: Path) -> bool:
    """Whether the folder is one of the normalised layout."""
    return (folder / INTERACTIONS).is_file()


def found(folder: Path, patterns: Sequence[str], home: str) -> list[Path]:
    """The files that fit ``patterns``, in their order, then by name.

    Raises: DataError with the patterns that nothing fits, and ``home``, where the data set is to be had.
    """
    files = {pattern: sorted(folder.glob(pattern)) for pattern in patterns}
    missing = [pattern for pattern, fitting in files.items() if not fitting]
    if missing:
        raise DataError(f"folder ({folder}) must hold {', '.join(missing)}; the data set is at {home}")
    return [path for fitting in files.values() for path in fitting]


def parquet(folder: Path, name: str, home: str) -> pl.LazyFrame:
    """The table in file ``name``.

    Raises: DataError if there is no such file.
    """
    return pl.scan_parquet(found(folder, [name], home))


def csv_texts(paths: list[Path], columns: Sequence[str]) -> pl.LazyFrame:
    """``columns`` of CSV files with a header, one after the other; every value as text, null where empty.

    Raises: DataError if the first file lacks a column.
    """
    table = pl.scan_csv(paths, infer_schema=False, encoding="utf8-lossy")
    missing = [name for name in columns if name not in table.collect_schema().names()]
    if missing:
        raise DataError(f"columns of {paths[0]} ({', '.join(missing)} absent) must be those of the official file")
    return table.select(columns)


def pair_lines(path: Path) -> pl.LazyFrame:
    """``user_id, item_id, position`` of a text file, packed or not, with a line ``user item`` for each event, in order."""
    pairs = pl.read_csv(path, separator=" ", has_header=False, new_columns=["user_id", "item_id"])
    return _positioned(pairs.lazy())


def list_lines(path: Path) -> pl.LazyFrame:
    """The same of a file with a line ``user item item …`` for each user, in order."""
    lines = pl.read_csv(path, separator="\n", has_header=False, new_columns=["line"], infer_schema=False)
    numbers = lines.lazy().select(pl.col("line").str.strip_chars().str.split(" ").cast(pl.List(pl.Int64)))
    head, rest = pl.col("line").list.first(), pl.col("line").list.slice(1)
    return _positioned(numbers.select(head.alias("user_id"), rest.alias("item_id")).explode("item_id").drop_nulls())


def _positioned(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64).over("user_id"))


def of_order(events: pl.LazyFrame, *, name: str, items: pl.DataFrame | None = None) -> Source:
    """A log without times: ``position`` orders a user's ``events``. All of a user is one session."""
    log = EventLog.read(events, columns=Columns(time="position"), time_unit="order", name=name)
    build = {"sessions": IdleGap(), "ties": "file", "history": HistoryRule()}
    return Source(log=log, items=items, build=build)


def tie_order(events: pl.LazyFrame, ties: Ties, draw: int) -> tuple[pl.LazyFrame, str]:
    """``events`` and the store's policy for simultaneous ones: as in the ``file``, as a ``set``, or ``permuted``.

    A permutation is drawn by ``draw`` alone, whatever the order of rows.

    Raises: ConfigError for another word.
    """
    if ties not in get_args(Ties):
        raise ConfigError(f"ties ({ties}) must be one of {', '.join(get_args(Ties))}")
    if ties != "permuted":
        return events, ties
    rows = events.collect()
    users, items = stable_codes(rows["user_id"]), stable_codes(rows["item_id"])
    drawn = KeyedDraws(draw).uniform("ties", users, items.astype(np.uint64))
    return rows.with_columns(pl.Series("drawn", drawn)).lazy(), "column:drawn"
