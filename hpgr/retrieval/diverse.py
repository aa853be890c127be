"""A list that trades scores for different categories. Cen et al., KDD 2020, arXiv:2005.09347 (controllable aggregation)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpgr.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DiverseGreedy:
    """Takes items one by one: the next has the largest ``score - weight · (its likeness to the items already taken, summed)``.

    Likeness is the Jaccard similarity of categories: 1 for the one category that both have, 0 where they share none. Up to what
    is the same for all, that is the greedy growth of ``Σ score + weight · Σ unlikeness of pairs``, each pair counted once.
    ``weight`` 0 is the order of scores; a weight above the scores' range takes one category after the other in turn.
    Departs: several categories an item; the article's sum may be read as counting each pair twice, its weight is then half of
    ours.
    """

    weight: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ConfigError(f"weight ({self.weight}) must be finite and not negative")

    def order(self, score: np.ndarray, marks: np.ndarray, k: int) -> np.ndarray:
        """``[k']`` int64: rows of ``score [n]`` in their new order, ``k' = min(k, n)``; the first among equals.

        ``marks [n, C]`` bool: which categories each has. Scores of ``-inf`` come last.
        """
        counted = marks.astype(np.float64)
        size, likeness = counted.sum(1), np.zeros(len(score))
        left = np.arange(len(score))
        chosen = []
        for _ in range(min(k, len(score))):
            at = int((score[left] - self.weight * likeness[left]).argmax())
            row = left[at]
            left = np.delete(left, at)
            chosen.append(row)
            common = counted @ counted[row]
            likeness += common / np.maximum(size + size[row] - common, 1)
        return np.array(chosen, dtype=np.int64)
