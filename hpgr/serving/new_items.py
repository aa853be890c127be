"""Items that came after training: known by their categories until a bundle has learnt them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from hpgr.answering.opening import Opened
from hpgr.core.errors import DataError, UnsupportedError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.item_clock import ItemClock, Listed
from hpgr.data.reading import open_table


def with_new_items(opened: Opened, source: Any) -> Opened:
    """The bundle, which also knows the items of a table with ``item_id`` and ``categories`` that its log does not hold.

    They are outside the catalogue: the ranker reads them as any such item, and their clock is empty.

    Raises: UnsupportedError if the bundle has no categories; DataError if a column is absent or an id is there twice.
    """
    clock = opened.answerer.clock
    if clock.category_names is None or clock.categories is None:
        raise UnsupportedError(
            "new items must be known by categories, and this bundle has none; prepare the log with --items and train again"
        )
    table, name = open_table(source, ids=["item_id"])
    missing = {"item_id", "categories"} - set(table.collect_schema().names())
    if missing:
        raise DataError(f"columns {', '.join(sorted(missing))} of new items {name} (absent) must be present")
    ids = pl.col("item_id").cast(clock.items.ids.dtype, strict=False)
    known = clock.items.ids.rename("item_id").to_frame().lazy()
    new = (
        table.select(ids, "categories")
        .drop_nulls("item_id")
        .join(known, on="item_id", how="anti")
        .collect()
        .sort("item_id")
    )
    if new["item_id"].n_unique() != len(new):
        raise DataError(f"item_id of new items {name} must not repeat; keep one row for each item")
    items = Vocabulary(pl.concat([clock.items.ids, new["item_id"].rename("id")]))
    catalogue = opened.answerer.catalogue
    outside = np.full(len(new), len(catalogue), dtype=np.int64)
    return replace(
        opened,
        log=replace(opened.log, items=items),
        answerer=replace(
            opened.answerer,
            clock=_longer(clock, items, _categories(new, clock.category_names)),
            catalogue=replace(catalogue, of_store=np.concatenate([catalogue.of_store, outside])),
        ),
    )


def _categories(new: pl.DataFrame, names: Vocabulary) -> Listed:
    """The numbers of those categories of each item that the bundle knows."""
    pairs = new.select(item=pl.int_range(pl.len()), name=pl.col("categories"))
    if isinstance(pairs.schema["name"], pl.List):
        pairs = pairs.explode("name")
    pairs = pairs.drop_nulls().unique(maintain_order=True)
    number = names.rows(pairs["name"].cast(pl.String))
    item = pairs["item"].to_numpy()
    return Listed.of_pairs(item[number >= 0], number[number >= 0], len(new))


def _longer(clock: ItemClock, items: Vocabulary, categories: Listed) -> ItemClock:
    more = len(items) - len(clock.items)

    def empty(listed: Listed | None) -> Listed | None:
        if listed is None:
            return None
        return Listed(listed.values, np.append(listed.offsets, np.full(more, listed.offsets[-1])))

    assert clock.categories is not None
    values = np.concatenate([clock.categories.values, categories.values])
    offsets = np.append(clock.categories.offsets, clock.categories.offsets[-1] + categories.offsets[1:])
    events = empty(clock.events)
    assert events is not None
    return replace(
        clock,
        items=items,
        events=events,
        shown=empty(clock.shown),
        clicked=empty(clock.clicked),
        categories=Listed(values, offsets),
    )
