"""Tables as users have them, opened lazily: Parquet, CSV and Arrow files, Polars, pandas and pyarrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pyarrow as pa

from hpgr.core.errors import DataError

_SUFFIXES = ".parquet, .csv, .tsv, .arrow, .ipc and .feather"
# Eighteen digits always fit int64; codes such as 007 would not come back as they were written.
_INTEGER = r"^(0|-?[1-9]\d{0,17})$"
_CODE = r"^[+-]?(0\d|\d{19})"


def open_table(
    source: Any, *, wanted: Sequence[str] | None = None, ids: Sequence[str] = ()
) -> tuple[pl.LazyFrame, str]:
    """``(table, its name in messages)``; in a CSV file the types of the ``wanted`` columns (default all) are found.

    ``ids`` names columns that hold integers or text, whatever they look like.

    Raises: DataError if there is nothing to read, or a column has values of mixed types.
    """
    if isinstance(source, (str, Path)):
        return _open_path(Path(source), wanted, ids)
    if isinstance(source, pl.LazyFrame):
        return source, "the lazy frame"
    if isinstance(source, pl.DataFrame):
        return source.lazy(), "the frame"
    try:
        table = nw.from_native(source, eager_only=True)
    except TypeError:
        raise DataError(f"log ({type(source).__name__}) must be a path or a Polars, pandas or pyarrow table") from None
    names = [name for name in table.columns if wanted is None or name in wanted]
    return pl.DataFrame([_converted(table[name], name) for name in names]).lazy(), "the frame"


def _open_path(path: Path, wanted: Sequence[str] | None, ids: Sequence[str]) -> tuple[pl.LazyFrame, str]:
    if not path.exists():
        raise DataError(f"log ({path}) must exist; check the path")
    try:
        if path.is_dir():
            if not any(path.glob("**/*.parquet")):
                raise DataError(f"log ({path}) must hold .parquet files; this folder has none")
            table = pl.scan_parquet(path / "**/*.parquet")
        elif path.suffix == ".parquet":
            table = pl.scan_parquet(path)
        elif path.suffix in (".arrow", ".ipc", ".feather"):
            table = pl.scan_ipc(path)
        elif path.suffix in (".csv", ".tsv"):
            table = pl.scan_csv(path, infer_schema=False, separator="\t" if path.suffix == ".tsv" else ",")
        else:
            raise DataError(f"log ({path}) must be one of {_SUFFIXES}, or a folder of .parquet files")
        table.collect_schema()
        return (_typed(table, wanted, ids) if path.suffix in (".csv", ".tsv") else table), str(path)
    except pl.exceptions.NoDataError:
        raise DataError(f"log ({path}) must have rows; the file is empty") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"log ({path}) must be readable as {path.suffix or 'a folder of .parquet'}; {reason}") from None


def _converted(column: Any, name: str) -> pl.Series:
    try:
        return column.to_polars()
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError):
        raise DataError(
            f"{name} of the frame (mixed types) must be all integers or all strings; convert it, as in .astype(str)"
        ) from None


def _typed(table: pl.LazyFrame, wanted: Sequence[str] | None, ids: Sequence[str]) -> pl.LazyFrame:
    """Text columns as int64, bool or (where they are not ``ids``) float64 if every value is one; text otherwise."""
    names = [name for name in table.collect_schema().names() if wanted is None or name in wanted]
    if not names:
        return table
    text = {name: pl.col(name).str.strip_chars() for name in names}
    tests = {
        "given": lambda name: text[name].is_not_null(),
        "integer": lambda name: text[name].str.contains(_INTEGER),
        "float": lambda name: text[name].cast(pl.Float64, strict=False).is_not_null(),
        "code": lambda name: text[name].str.contains(_CODE),
        "bool": lambda name: text[name].str.to_lowercase().is_in(["true", "false"]),
    }
    seen = table.select(test(name).sum().alias(f"{kind} {name}") for kind, test in tests.items() for name in names)
    count = seen.collect(engine="streaming").row(0, named=True)

    def column(name: str) -> pl.Expr:
        given = count[f"given {name}"]
        if given and count[f"integer {name}"] == given:
            return text[name].cast(pl.Int64)
        if given and count[f"bool {name}"] == given:
            return text[name].str.to_lowercase() == "true"
        if given and count[f"float {name}"] == given and not count[f"code {name}"] and name not in ids:
            return text[name].cast(pl.Float64)
        return pl.col(name)

    return table.with_columns(column(name).alias(name) for name in names)
