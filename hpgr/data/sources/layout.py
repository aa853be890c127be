"""What lies in the folder of a data set: official files, or the normalised layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from hpgr.core.errors import DataError

INTERACTIONS, ITEMS = "interactions.parquet", "items.parquet"


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
