"""Items as people know them: by title and category, and found by a part of either."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from hpgr.serving.engine import Engine
from hpgr.serving.events import ItemId


class Names:
    """Of the items of one bundle's log; what has no title is called by its id."""

    def __init__(self, engine: Engine) -> None:
        self._ids, self._row, self._given = engine.reading.ids, engine.reading.row, engine.titles
        clock = engine.answerer.clock
        self.has_titles = engine.titles is not None
        self._listed, names = clock.categories, clock.category_names
        # Those of most items first: they get the colours.
        order = np.zeros(0, dtype=np.int64)
        if names is not None and self._listed is not None:
            order = np.argsort(-np.bincount(np.asarray(self._listed.values), minlength=len(names)), kind="stable")
        self._place = np.argsort(order)
        self.categories: list[str] = [] if names is None else names.at(order).cast(pl.String).to_list()

    def title(self, row: int) -> str:
        """Of the log's ``row``."""
        return (None if self._given is None else self._given[row]) or str(self._ids[row])

    def category(self, row: int) -> int | None:
        """The place in ``categories`` of the first that it has; None without one."""
        if self._listed is None:
            return None
        start, stop = self._listed.bounds(np.array([row]))
        return int(self._place[self._listed.values[start[0]]]) if stop[0] > start[0] else None

    def of(self, item: ItemId) -> dict[str, Any]:
        """``item_id, title, category, known`` of an id, which the log need not hold."""
        row = self._row(item)
        if row < 0:
            return {"item_id": str(item), "title": str(item), "category": None, "known": False}
        return {"item_id": str(item), "title": self.title(row), "category": self.category(row), "known": True}

    @cached_property
    def _low(self) -> pl.DataFrame:
        """``title, id`` of every item in small letters; made at the first search, for it is large where the log is."""
        ids = pl.Series("id", [str(id_) for id_ in self._ids], dtype=pl.String)
        titles = ids if self._given is None else self._given
        frame = pl.DataFrame([titles.rename("title"), ids]).with_columns(pl.coalesce("title", "id").alias("title"))
        return frame.select(pl.all().str.to_lowercase())

    def find(self, text: str, most: int) -> list[dict[str, Any]]:
        """Items whose title or id holds ``text``; those that begin with it first."""
        asked = text.strip().lower()
        place = pl.min_horizontal(
            pl.when(pl.col(name).str.contains(asked, literal=True))
            .then(pl.when(pl.col(name).str.starts_with(asked)).then(0).otherwise(1))
            .otherwise(2)
            for name in ("title", "id")
        )
        rows = (
            self._low.select(place=place)
            .with_row_index("row")
            .filter(pl.col("place") < 2)
            .sort("place", "row")
            .head(most)["row"]
        )
        return [self.of(self._ids[row]) for row in rows]
