"""A list that trades scores for different categories. Cen et al., KDD 2020, arXiv:2005.09347 (controllable aggregation)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpgr.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class DiverseGreedy:
    """Takes items one by one: the next has the largest ``score - weight · (items of its category already taken)``.

    Up to what is the same for all, that is the greedy growth of ``Σ score + weight · (pairs of unlike categories)``, each pair
    counted once. ``weight`` 0 is the order of scores; a weight above the scores' range takes a category after the other in
    turn. Departs: the article's sum may be read as counting each pair twice; its weight is then half of ours.
    """

    weight: float = 0.0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ConfigError(f"weight ({self.weight}) must not be negative")

    def order(self, score: np.ndarray, category: np.ndarray, k: int) -> np.ndarray:
        """``[k']`` int64: rows of ``score [n]`` in their new order, ``k' = min(k, n)``; the first among equals.

        ``category [n]`` int64; -1 is no category, shared with nothing. Scores of ``-inf`` come last.
        """
        best_first = np.argsort(-score, kind="stable")
        places, inverse = np.unique(category, return_inverse=True)
        taken = np.zeros(len(places))
        queues = [best_first[inverse[best_first] == c].tolist() for c in range(len(places))]
        chosen: list[int] = []
        heads = [0] * len(places)
        for _ in range(min(k, len(score))):
            # Within a category all pay alike: only the best one left of each can be next.
            left = [c for c, queue in enumerate(queues) if heads[c] < len(queue)]
            at = [queues[c][heads[c]] for c in left]
            value = [score[row] - self.weight * taken[c] for row, c in zip(at, left)]
            best = min(range(len(left)), key=lambda i: (-value[i], at[i]))
            chosen.append(at[best])
            heads[left[best]] += 1
            taken[left[best]] += places[left[best]] >= 0
        return np.array(chosen, dtype=np.int64)
