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

    def search(self, query_BD: Tensor, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
        """``(rows [B, k'], scores [B, k'])``, best first, ``k' = min(k, V)``; the lower row first among equals.

        ``excluded``: rows of items a user must not get. What is missing has score ``-inf``.
        """
        ...
