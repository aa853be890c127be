"""The pooled AUC: its fast resampling against the AUC of weighted rows, draw by draw."""

from __future__ import annotations

import numpy as np
import pytest

from hpgr.core.errors import DataError
from hpgr.evaluation.classification import auc
from hpgr.evaluation.intervals import Bootstrap, user_weights
from hpgr.evaluation.pooled import pooled_auc


def rows(num_users=30, num_rows=400, digits=1):
    """Scores with many ties, of users who click unlike often; some have one row."""
    rng = np.random.default_rng(0)
    users = np.concatenate([np.arange(num_users), rng.integers(0, num_users // 2, num_rows - num_users)])
    label = (rng.random(num_rows) < 0.1 + 0.3 * (users % 3)).astype(float)
    score = np.round(rng.normal(0, 1, num_rows) + label, digits)
    order = rng.permutation(num_rows)
    return score[order], label[order], users[order]


def test_the_interval_is_that_of_the_weighted_auc_of_each_draw():
    score, label, users = rows()
    how = Bootstrap(num_samples=200)
    drawn = [auc(score, label, weight[users]) for block in user_weights(30, how) for weight in block]
    found = pooled_auc(score, label, users, how)
    assert found.value == auc(score, label)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-12)
    assert found.num_users == 30
    names = np.array([f"user {i:02}" for i in range(30)])
    assert pooled_auc(score, label, names[users], how) == found


def test_a_thousand_draws_in_blocks_of_any_size():
    score, label, users = rows()
    whole = pooled_auc(score, label, users)
    assert whole == pooled_auc(score, label, users, Bootstrap(num_samples=1000))
    assert whole != pooled_auc(score, label, users, Bootstrap(num_samples=100))
    small = pooled_auc(score, label, users, Bootstrap(memory_mb=0.01))
    assert (small.low, small.high) == pytest.approx((whole.low, whole.high))


def test_draws_of_one_outcome_are_left_out_and_rows_of_one_outcome_refused():
    # Without the first user nothing was clicked; without the second everything was.
    found = pooled_auc(np.array([1.0, 0.0]), np.array([1, 0]), np.array([0, 1]))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    alone = pooled_auc(np.array([1.0, 0.0]), np.array([1, 0]), np.array([0, 0]))
    assert (alone.value, alone.num_users) == (1.0, 1)
    with pytest.raises(DataError, match="all the same"):
        pooled_auc(np.array([1.0, 0.0]), np.array([1, 1]), np.array([0, 1]))
