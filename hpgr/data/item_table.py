"""What is known of the items of a store: one row of the user's table for each."""

from __future__ import annotations

from typing import Any

import polars as pl

from hpgr.core.errors import DataError, UnknownNameError
from hpgr.data.reading import open_table


def item_table(source: Any, ids: pl.Series, *, column: str) -> pl.DataFrame:
    """``[V]`` rows in the order of ``ids [V]``: ``item_id`` and the columns of ``source``, null where it has no row.

    ``column`` of ``source`` holds the ids.

    Raises: DataError if it is absent or an id is there twice.
    """
    table, name = open_table(source, ids=[column])
    names = table.collect_schema().names()
    if column not in names:
        hint = UnknownNameError.of("column", column, names)
        raise DataError(f"column {column} of items table {name} (absent) must be present; {hint}")
    ours = ids.cast(pl.String) if isinstance(ids.dtype, (pl.Categorical, pl.Enum)) else ids
    key = pl.col(column).cast(ours.dtype, strict=False)
    known = table.with_columns(key).join(ours.rename(column).to_frame().lazy(), on=column, how="semi").collect()
    repeated = known[column].filter(known[column].is_duplicated())
    if len(repeated):
        raise DataError(f"{column} of items table {name} ({repeated[0]}) must not repeat; keep one row for each item")
    rest = [other for other in names if other not in (column, "item_id")]
    aligned = ours.rename(column).to_frame().join(known, on=column, how="left", maintain_order="left")
    return pl.DataFrame([ids.rename("item_id"), *(aligned[other] for other in rest)])
