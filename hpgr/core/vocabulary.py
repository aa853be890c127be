"""The user's own ids and our rows, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hpgr.core.errors import DataError


class Vocabulary:
    """Ids of one kind (all integers or all strings) and their rows ``0 … size-1``, sorted by id.

    Ids come back with the type they came with.
    """

    def __init__(self, ids: pl.Series) -> None:
        """Raises: DataError if ids repeat or one is null."""
        if ids.null_count():
            raise DataError(f"ids ({ids.null_count()} of {len(ids)} null) must all be given")
        if ids.n_unique() != len(ids):
            raise DataError(f"ids ({len(ids)}) must not repeat; {len(ids) - ids.n_unique()} do")
        self.ids = ids.rename("id")
        self._table = pl.DataFrame({"id": self.ids, "idx": np.arange(len(ids), dtype=np.int64)})

    @classmethod
    def of(cls, values: Sequence[Any] | pl.Series) -> Vocabulary:
        """The distinct values, sorted."""
        return cls(pl.Series("id", values).drop_nulls().unique().sort())

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.ids.dtype == other.ids.dtype and self.ids.equals(other.ids)

    __hash__ = None  # type: ignore[assignment]

    def rows(self, ids: Sequence[Any] | pl.Series, *, unknown: int = -1) -> np.ndarray:
        """``[n]`` int64 rows of ``ids``; ``unknown`` where an id has none. Any type is accepted and compared as ours."""
        asked = pl.Series("id", ids, strict=False) if not isinstance(ids, pl.Series) else ids.rename("id")
        asked = _compared(asked, self.ids.dtype)
        found = asked.to_frame().join(self._table, on="id", how="left", maintain_order="left")["idx"]
        return found.fill_null(unknown).to_numpy().astype(np.int64)

    def at(self, rows: np.ndarray | Sequence[int]) -> pl.Series:
        """The ids at ``rows``."""
        return self.ids.gather(np.asarray(rows, dtype=np.int64))

    def save(self, path: Path) -> None:
        """Write a Parquet file of one column, ``id``."""
        self.ids.to_frame().write_parquet(path)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what ``save`` wrote."""
        return cls(pl.read_parquet(path)["id"])


def _compared(asked: pl.Series, kind: pl.DataType) -> pl.Series:
    """As ids of the type ``kind``; null for what is none, such as a part of a number, which a cast would drop."""
    if asked.dtype == pl.Boolean:
        return pl.Series("id", [None] * len(asked), dtype=kind)
    if asked.dtype.is_float() and kind.is_integer():
        asked = asked.set((asked.round(0) != asked).fill_null(True), None)
    return asked.cast(kind, strict=False)
