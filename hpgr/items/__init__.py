"""What an item is: a vector for every row of the catalogue, and one for an item outside it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn import Parameter


class Items(Protocol):
    """``num_items`` catalogue rows of width ``dim``; row ``num_items`` stands for any item outside the catalogue.

    ``sparse``: the gradient of what is read holds the rows that were read and no others.
    """

    num_items: int
    dim: int
    sparse: bool

    def __call__(self, item_idx: Tensor) -> Tensor:
        """``[...]`` int64 in ``0 … num_items`` to ``[..., D]``."""
        ...

    def table(self) -> Tensor:
        """``[V, D]``: the catalogue's vectors that scores are made with, without the outside row."""
        ...

    def bias(self) -> Tensor | None:
        """``[V]``: what is added to each item's score; None for nothing."""
        ...

    def rows(self, item_idx: Tensor) -> tuple[Tensor, Tensor | None]:
        """``[U, D]`` and ``[U]``: those rows of ``table`` and of ``bias``."""
        ...

    def row_parameters(self) -> tuple[Parameter, ...]:
        """What has a row for each item, and is moved by rows where a stage's settings say so."""
        ...
