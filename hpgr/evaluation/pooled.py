"""An AUC over all rows together, with an interval that knows rows of one user belong together."""

from __future__ import annotations

import numpy as np

from hpgr.evaluation.classification import auc
from hpgr.evaluation.intervals import Interval


def pooled_auc(
    score: np.ndarray,
    label: np.ndarray,
    users: np.ndarray,
    *,
    num_samples: int = 100,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The AUC of all ``n`` rows, and its percentile interval from ``num_samples`` resamplings of whole users.

    Raises: DataError where all labels are the same.
    """
    _, index = np.unique(users, return_inverse=True)
    num_users = int(index.max(initial=-1)) + 1
    generator = np.random.default_rng(seed)
    value = auc(score, label)
    drawn = []
    for _ in range(num_samples):
        weight = np.bincount(generator.integers(num_users, size=num_users), minlength=num_users)[index]
        if 0 < (weight * label).sum() < weight.sum():
            drawn.append(auc(score, label, weight))
    if not drawn:
        return Interval(value=value, num_users=num_users)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value=value, low=float(low), high=float(high), num_users=num_users)
