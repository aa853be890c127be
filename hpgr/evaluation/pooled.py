"""An AUC over all rows together, with an interval that knows rows of one user belong together."""

from __future__ import annotations

import numpy as np

from hpgr.evaluation.classification import auc, checked
from hpgr.evaluation.intervals import DEFAULT, Bootstrap, Interval, user_weights


def pooled_auc(score: np.ndarray, label: np.ndarray, users: np.ndarray, how: Bootstrap = DEFAULT) -> Interval:
    """The AUC of all ``n`` rows, and its percentile interval from resamplings of whole users.

    Raises: DataError where all labels are the same.
    """
    value, (score, label, _) = auc(score, label), checked(score, label, None)
    _, user = np.unique(users, return_inverse=True)
    num_users = int(user.max()) + 1
    rows = _Sorted(score, label, user)
    drawn = np.concatenate([rows.aucs(weights_nU, how.memory_mb) for weights_nU in user_weights(num_users, how)])
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Interval(value=value, num_users=num_users)
    low, high = np.quantile(drawn, [(1 - how.level) / 2, (1 + how.level) / 2])
    return Interval(value=value, low=float(low), high=float(high), num_users=num_users)


class _Sorted:
    """Rows in order of score, sorted once for all draws: of each clicked row, how many of the others lie below its run of equal
    scores, and up to the end of that run."""

    def __init__(self, score: np.ndarray, label: np.ndarray, user: np.ndarray) -> None:
        clicked = label > 0
        order = np.argsort(score[~clicked], kind="stable")
        ups, downs = score[clicked], score[~clicked][order]
        self.user_ups, self.user_downs = user[clicked], user[~clicked][order]
        self.below, self.up_to = (np.searchsorted(downs, ups, side=side) for side in ("left", "right"))

    def aucs(self, weights_nU: np.ndarray, memory_mb: float) -> np.ndarray:
        """``[n]`` AUCs whose rows weigh what their users do; NaN where a draw has one label only."""
        num_rows = len(self.user_ups) + len(self.user_downs)
        at_once = max(1, int(memory_mb * 2**20 / 32) // num_rows)
        parts = range(0, len(weights_nU), at_once)
        return np.concatenate([self._aucs(weights_nU[start : start + at_once]) for start in parts])

    def _aucs(self, weights_nU: np.ndarray) -> np.ndarray:
        ups_nP = weights_nU[:, self.user_ups]
        sums = np.zeros((len(weights_nU), len(self.user_downs) + 1))
        np.cumsum(weights_nU[:, self.user_downs], axis=1, out=sums[:, 1:])
        won_n = np.einsum("np,np->n", ups_nP, sums[:, self.below] + sums[:, self.up_to]) / 2
        pairs_n = ups_nP.sum(1) * sums[:, -1]
        return np.where(pairs_n > 0, won_n / np.maximum(pairs_n, 1), np.nan)
