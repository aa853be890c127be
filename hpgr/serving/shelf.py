"""Everything that can be retrieved: the catalogue in its own order, then new items, each as what its categories hold."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpgr.answering.answerer import Answerer
from hpgr.core.errors import UnsupportedError
from hpgr.data.item_clock import ItemClock
from hpgr.data.ranges import flat_index


class Shelf:
    """``P`` places, of which the first ``V`` are the catalogue's. ``store_rows [P]``: the log's row of each, -1 for none;
    ``place_of [V_store]``: the other way, ``P`` for an item that cannot be retrieved.

    A new item is scored as the catalogue's items of its categories are on average; it has a place if there are any.
    """

    def __init__(self, answerer: Answerer, first_new: int) -> None:
        """``first_new``: the first row of the new items; all rows of the log come before it."""
        self._frame, catalogue, clock = answerer.frame, answerer.catalogue, answerer.clock
        rows = np.arange(first_new, len(catalogue.of_store))
        self._means: Tensor | None = None
        new: list[int] = []
        if len(rows) and hasattr(self._frame, "catalogue_vectors"):
            self._means, new = _category_weights(clock, catalogue.of_store, rows, len(catalogue))
        self.store_rows = np.concatenate([catalogue.store_rows(), np.array(new, dtype=np.int64)])
        self.num_trained = len(catalogue)
        self.place_of = np.full(len(catalogue.of_store), len(self.store_rows), dtype=np.int64)
        held = np.flatnonzero(self.store_rows >= 0)
        self.place_of[self.store_rows[held]] = held

    def __len__(self) -> int:
        return len(self.store_rows)

    def places(self, store_rows: np.ndarray) -> np.ndarray:
        """``[n]`` places of rows of the log; ``P`` for -1 and for what cannot be retrieved."""
        rows = np.asarray(store_rows, dtype=np.int64)
        return np.where(rows < 0, len(self), self.place_of[rows]) if len(self.place_of) else rows * 0

    @cached_property
    def vectors(self) -> tuple[Tensor, Tensor | None]:
        """``[P, D]`` and ``[P]``: with a query's vector they make the scores."""
        table_VD, bias_V = self._frame.catalogue_vectors()
        return self._with_new(table_VD).contiguous(), None if bias_V is None else self._with_new(bias_V[:, None])[:, 0]

    @cached_property
    def likeness(self) -> np.ndarray:
        """``[P + 1, D]`` float32 item vectors of length 1; that of what cannot be retrieved is zero.

        Raises: UnsupportedError if the model has no item vectors.
        """
        items: Any = getattr(getattr(self._frame, "retriever", self._frame), "items", None)
        if items is None:
            raise UnsupportedError("item likeness must come from item vectors, and this model has none")
        table = torch.nn.functional.normalize(self._with_new(items.table().detach().float()), dim=1)
        return np.concatenate([table.numpy(), np.zeros((1, table.shape[1]), dtype=np.float32)])

    def padded(self, scores_BV: Tensor) -> Tensor:
        """``[B, P]`` from scores of the catalogue alone."""
        return torch.nn.functional.pad(scores_BV, (0, len(self) - self.num_trained), value=-torch.inf)

    def _with_new(self, x_VD: Tensor) -> Tensor:
        if self._means is None or not self._means.shape[0]:
            return x_VD
        return torch.cat([x_VD, torch.sparse.mm(self._means, x_VD)])


def _category_weights(
    clock: ItemClock, of_store: np.ndarray, rows: np.ndarray, num_trained: int
) -> tuple[Tensor, list[int]]:
    """``[N, V]`` sparse: what each of the ``rows`` with a neighbour takes of the catalogue's items; and those rows."""
    listed = clock.categories
    assert listed is not None
    owner = np.repeat(np.arange(len(of_store)), np.diff(np.asarray(listed.offsets)))
    inside = of_store[owner] < num_trained
    values = np.asarray(listed.values)
    order = np.argsort(values[inside], kind="stable")
    category, member = values[inside][order], of_store[owner[inside]][order]
    kept, parts = [], []
    for row in rows.tolist():
        mine = values[listed.offsets[row] : listed.offsets[row + 1]]
        low, high = (np.searchsorted(category, mine, side=side) for side in ("left", "right"))
        near = np.unique(member[flat_index(low, high)])
        if len(near):
            kept.append(row)
            parts.append(near)
    lengths = np.array([len(near) for near in parts], dtype=np.int64)
    at = np.stack([np.repeat(np.arange(len(parts)), lengths), np.concatenate([np.empty(0, np.int64), *parts])])
    weight = torch.from_numpy(np.repeat(1.0 / np.maximum(lengths, 1), lengths).astype(np.float32))
    return torch.sparse_coo_tensor(torch.from_numpy(at.astype(np.int64)), weight, (len(parts), num_trained)), kept
