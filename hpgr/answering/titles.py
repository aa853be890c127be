"""What items are called: kept in a bundle, so that answers can be read by people."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hpgr.core.errors import DataError

TITLES = "titles.parquet"
"""The file inside a bundle: one column, ``title``, a row for each item of its log; absent where the log had no titles."""


def titles_of(item_table: pl.DataFrame | None) -> pl.Series | None:
    """``[V_store]`` text, null for an item without a title; None where the items table has no column ``title``."""
    if item_table is None or "title" not in item_table.columns:
        return None
    return item_table["title"].cast(pl.String, strict=False)


def save_titles(titles: pl.Series | None, folder: Path) -> None:
    """Write them into ``folder``; nothing where there are none."""
    if titles is not None:
        titles.rename("title").to_frame().write_parquet(folder / TITLES)


def load_titles(folder: Path, num_items: int) -> pl.Series | None:
    """What ``save_titles`` wrote for ``num_items`` items.

    Raises: DataError if the file is damaged or of other items.
    """
    path = folder / TITLES
    if not path.exists():
        return None
    try:
        titles = pl.read_parquet(path)["title"]
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} must hold the titles of the bundle's items ({error}); train the model again") from None
    if len(titles) != num_items:
        raise DataError(
            f"{path} ({len(titles)} titles) must hold one for each of {num_items} items; train the model again"
        )
    return titles
