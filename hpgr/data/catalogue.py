"""The model's catalogue: the items that occur in the training events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpgr.core.errors import DataError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.ranges import Ranges, chunks, flat_index
from hpgr.data.store import SequenceStore


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Catalogue:
    """``V`` items in rows ``0 … V-1``; row ``V`` stands for every other item.

    ``of_store [V_store]`` int64: the row of each of the store's items, ``V`` where training never saw it.
    ``train_count [V]`` int64: training events of each item. Items that were only shown, never chosen, are outside.
    """

    items: Vocabulary
    of_store: np.ndarray
    train_count: np.ndarray

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, store_rows: np.ndarray) -> np.ndarray:
        """Rows ``0 … V`` of the store's item rows; -1, an item that the store does not know, gives ``V``."""
        store_rows = np.asarray(store_rows, dtype=np.int64)
        return np.where(store_rows < 0, len(self), self.of_store[store_rows]) if len(self.of_store) else store_rows * 0

    def store_rows(self) -> np.ndarray:
        """``[V]`` int64: the store's row of each item, -1 for one that the store does not know."""
        known = np.flatnonzero(self.of_store < len(self))
        rows = np.full(len(self), -1, dtype=np.int64)
        rows[self.of_store[known]] = known
        return rows

    @classmethod
    def from_ranges(cls, store: SequenceStore, ranges: Ranges) -> Catalogue:
        """The items of the events in ``ranges``, in the order of the store's rows.

        Raises: DataError if there is no event.
        """
        count = np.zeros(len(store.items), dtype=np.int64)
        for first, end in chunks(ranges.lengths):
            events = flat_index(ranges.start[first:end], ranges.stop[first:end])
            count += np.bincount(store.item_idx[events], minlength=len(count))
        seen = np.flatnonzero(count)
        if not len(seen):
            raise DataError("training part (0 events) must hold at least one event; give later borders or a longer log")
        of_store = np.full(len(count), len(seen), dtype=np.int64)
        of_store[seen] = np.arange(len(seen))
        return cls(items=Vocabulary(store.items.at(seen)), of_store=of_store, train_count=count[seen])

    @classmethod
    def from_ids(cls, items: Vocabulary, known: Vocabulary, train_count: np.ndarray) -> Catalogue:
        """The catalogue of a saved model: its own ``items``, reached from the rows of the ``known`` ones."""
        return cls(items=items, of_store=items.rows(known.ids, unknown=len(items)), train_count=train_count)
