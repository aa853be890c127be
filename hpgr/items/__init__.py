"""What an item is: a vector for every row of the catalogue, and one for an item outside it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Items(Protocol):
    """``num_items`` catalogue rows of width ``dim``; row ``num_items`` stands for any item outside the catalogue."""

    num_items: int
    dim: int

    def __call__(self, item_idx: Tensor) -> Tensor:
        """``[...]`` int64 in ``0 … num_items`` to ``[..., D]``."""
        ...

    def table(self) -> Tensor:
        """``[V, D]``: the catalogue's vectors that scores are made with, without the outside row."""
        ...

    def bias(self) -> Tensor | None:
        """``[V]``: what is added to each item's score; None for nothing."""
        ...
