"""From states, or scores of the catalogue, to ranked items."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from hpgr.core.jagged import Jagged


class Index(Protocol):
    """Finds the items whose vectors score highest against a query: ``query · vector + bias``."""

    @property
    def recall(self) -> float:
        """Share of the exact top-k that it found for a sample of queries when it was built; 1 where search is exact."""
        ...

    def search(self, query: Tensor, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
        """``(rows [B, k'], scores [B, k'])``, best first, ``k' = min(k, V)``; the lower row first among equals.

        ``query``: one vector a user, ``[B, D]``, or several, ``[B, Q, D]``; an item's score is then its best one. ``excluded``:
        rows of items a user must not get. What is missing has score ``-inf``.
        """
        ...
