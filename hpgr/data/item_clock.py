"""What was known of an item at a moment: how often it had been chosen and shown, and since when.

Keyed by the store's item rows, so that it also answers for items outside a model's catalogue. It holds every event of
the store it was built from; each answer uses only what is strictly earlier than the moment asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from hpgr.core.errors import DataError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.ranges import flat_index, lower_bound, offsets_from
from hpgr.data.store import SequenceStore

_ITEMS, _CATEGORIES = "items.parquet", "category_names.parquet"
_REMEDY = "train the model again with: hpgr train STORE --model NAME --out BUNDLE"
_ALWAYS, _OPTIONAL = ("events",), ("shown", "clicked", "categories")


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """A sorted list for each item: ``values`` int64 and ``offsets [V_store + 1]`` int64."""

    values: np.ndarray
    offsets: np.ndarray

    def bounds(self, item_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(start, stop)`` of each item's list in ``values``; row -1 has an empty one."""
        known = np.maximum(item_rows, 0)
        start = np.asarray(self.offsets)[known] if len(self.offsets) > 1 else np.zeros(len(known), dtype=np.int64)
        return start, np.where(
            item_rows < 0, start, np.asarray(self.offsets)[np.minimum(known + 1, len(self.offsets) - 1)]
        )

    @classmethod
    def of_pairs(cls, item_rows: np.ndarray, values: np.ndarray, num_items: int) -> Listed:
        """The values ``[n]`` of each of the ``item_rows [n]``."""
        order = np.lexsort((values, item_rows))
        counts = np.bincount(item_rows, minlength=num_items)
        return cls(np.asarray(values)[order].astype(np.int64), offsets_from(counts))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ItemClock:
    """``events``, ``shown``, ``clicked``: the times (ms) at which each of ``items`` was chosen in a history, shown in a
    request, and shown with a positive label; ``categories``: the numbers of its categories, rows of ``category_names``; None
    where there are none, or were not kept.
    """

    items: Vocabulary
    events: Listed
    shown: Listed | None = None
    clicked: Listed | None = None
    categories: Listed | None = None
    category_names: Vocabulary | None = None

    @classmethod
    def build(cls, store: SequenceStore) -> ItemClock:
        """The clock of all events and exposures of a store."""
        size = len(store.items)
        shown = clicked = None
        categories, names = _categories(store.item_table)
        if store.exposures is not None:
            item, label = np.asarray(store.exposures.item_idx), np.asarray(store.exposures.label)
            time_ms = store.exposures.times_ms()
            shown = Listed.of_pairs(item, time_ms, size)
            clicked = Listed.of_pairs(item[label > 0], time_ms[label > 0], size)
        return cls(
            items=store.items,
            events=Listed.of_pairs(np.asarray(store.item_idx), np.asarray(store.time_ms), size),
            shown=shown,
            clicked=clicked,
            categories=categories,
            category_names=names,
        )

    def count(
        self, kind: Listed, item_rows: np.ndarray, now_ms: np.ndarray, window_ms: int | None = None
    ) -> np.ndarray:
        """``[C]`` int64: times of ``kind`` before ``now_ms``, by less than ``window_ms`` where that is given."""
        start, stop = kind.bounds(item_rows)
        end = lower_bound(kind.values, start, stop, now_ms)
        return end - (start if window_ms is None else lower_bound(kind.values, start, end, now_ms - window_ms + 1))

    def first_ms(self, item_rows: np.ndarray, now_ms: np.ndarray) -> np.ndarray:
        """``[C]`` int64: when each item was first chosen or shown, or ``now_ms [C]`` where that is not earlier."""
        first = np.asarray(now_ms, dtype=np.int64)
        for kind in (self.events, self.shown):
            if kind is not None and len(kind.values):
                start, stop = kind.bounds(item_rows)
                earliest = np.asarray(kind.values)[np.minimum(start, len(kind.values) - 1)]
                first = np.where(stop > start, np.minimum(first, earliest), first)
        return first

    def marks(self, item_rows: np.ndarray) -> np.ndarray:
        """``[n, C]`` bool: which categories each item has, of the ``C`` that any of them has."""
        if self.categories is None:
            return np.zeros((len(item_rows), 0), dtype=bool)
        start, stop = self.categories.bounds(item_rows)
        names, code = np.unique(np.asarray(self.categories.values)[flat_index(start, stop)], return_inverse=True)
        marks = np.zeros((len(item_rows), len(names)), dtype=bool)
        marks[np.repeat(np.arange(len(item_rows)), stop - start), code] = True
        return marks

    def save(self, folder: Path) -> None:
        """Write the ids as Parquet and each list as two ``.npy`` files into ``folder``, which is made if need be."""
        folder.mkdir(parents=True, exist_ok=True)
        self.items.save(folder / _ITEMS)
        if self.category_names is not None:
            self.category_names.save(folder / _CATEGORIES)
        for name in (*_ALWAYS, *_OPTIONAL):
            listed = getattr(self, name)
            if listed is not None:
                np.save(folder / f"{name}.npy", listed.values, allow_pickle=False)
                np.save(folder / f"{name}_offsets.npy", listed.offsets, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> ItemClock:
        """Read what ``save`` wrote, mapped into memory.

        Raises: DataError if a file is missing or damaged.
        """
        try:
            items = Vocabulary.load(folder / _ITEMS)
            names = Vocabulary.load(folder / _CATEGORIES) if (folder / _CATEGORIES).exists() else None
            lists = {name: _mapped(folder, name) for name in _ALWAYS}
            lists |= {name: _mapped(folder, name) for name in _OPTIONAL if (folder / f"{name}.npy").exists()}
        except (OSError, EOFError, ValueError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f"item clock ({folder}) must hold what hpgr wrote, and a file of it is missing or damaged; {_REMEDY}"
            ) from error
        for name, listed in lists.items():
            if len(listed.offsets) != len(items) + 1 or int(listed.offsets[-1]) != len(listed.values):
                raise DataError(
                    f"item clock ({folder}) must hold what hpgr wrote; {name} does not fit the items; {_REMEDY}"
                )
        return cls(items=items, category_names=names, **lists)


def _mapped(folder: Path, name: str) -> Listed:
    values, offsets = (
        np.asarray(np.load(folder / f"{file}.npy", mmap_mode="r", allow_pickle=False))
        for file in (name, f"{name}_offsets")
    )
    return Listed(values, offsets)


def _categories(item_table: pl.DataFrame | None) -> tuple[Listed | None, Vocabulary | None]:
    if item_table is None or "categories" not in item_table.columns:
        return None, None
    pairs = (
        item_table.select(item=pl.int_range(pl.len()), name=pl.col("categories")).explode("name").drop_nulls().unique()
    )
    if not len(pairs):
        return None, None
    names = Vocabulary.of(pairs["name"].cast(pl.String))
    return Listed.of_pairs(pairs["item"].to_numpy(), names.rows(pairs["name"]), len(item_table)), names
