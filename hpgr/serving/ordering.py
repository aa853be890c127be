"""What comes after the model's scores: the prior of the many, business weights, diversity."""

from __future__ import annotations

import numpy as np


def blended(score: np.ndarray, log_share: np.ndarray, trust: float) -> np.ndarray:
    """``[n]``: log-scores of the model and the prior's, as ``trust`` in [0, 1] says; a geometric mean of the two.

    >>> blended(np.array([0.0, 2.0]), np.array([-1.0, -3.0]), 0.5).tolist()
    [-0.5, -0.5]
    """
    if trust >= 1:
        return score
    return log_share if trust <= 0 else trust * score + (1 - trust) * log_share


def log_softmax(score: np.ndarray) -> np.ndarray:
    """``[n]`` scores as log-shares."""
    shifted = score - score.max(initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum())


def diverse(score: np.ndarray, vectors: np.ndarray, k: int, diversity: float) -> np.ndarray:
    """``[k']`` int64: rows in the order of maximal marginal relevance.

    ``score [n]`` is brought into [0, 1]; ``vectors [n, D]`` have length 1 or 0. Each next row has the largest
    ``(1 - diversity) * score - diversity * (its largest likeness to a row already chosen)``; the first among equals.

    Source: Carbonell & Goldstein, SIGIR 1998.
    """
    finite = np.isfinite(score)
    low, high = (score[finite].min(), score[finite].max()) if finite.any() else (0.0, 0.0)
    relevance = np.where(finite, (score - low) / max(high - low, 1e-12), -1.0)
    likeness = np.full(len(score), -np.inf)
    left = np.ones(len(score), dtype=bool)
    order = []
    for _ in range(min(k, len(score))):
        penalty = np.where(np.isfinite(likeness), likeness, 0.0)
        value = np.where(left, (1 - diversity) * relevance - diversity * penalty, -np.inf)
        best = int(value.argmax())
        order.append(best)
        left[best] = False
        likeness = np.maximum(likeness, vectors @ vectors[best])
    return np.array(order, dtype=np.int64)
