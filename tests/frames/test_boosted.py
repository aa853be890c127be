"""Boosted trees: what they may know, how they stop, and what they refuse."""

import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError
from hpgr.core.seeds import torch_generator
from hpgr.frames.boosted import BoostedRecommender

pytest.importorskip("lightgbm")
DAY_MS = 86_400_000


def batch(seed: int, num_users: int = 100) -> tuple[History, Candidates]:
    """Clicked where the first feature is positive; the second is noise."""
    generator = torch_generator(seed, "features")
    history = History.from_lists([[1, 2]] * num_users, now_ms=[DAY_MS] * num_users)
    features = torch.randn(num_users * 5, 2, generator=generator)
    labels = (features[:, 0] > 0).float().view(num_users, 5).tolist()
    rows = [[1, 2, 3, 4, 5]] * num_users
    return history, Candidates.from_lists(rows, now_ms=history.now_ms, features=features, labels=labels)


def grown(**options) -> BoostedRecommender:
    frame = BoostedRecommender.Config(features=("age", "is_new"), min_rows=5, **options).build(num_items=9)
    frame.fit([batch(0), batch(1)], [batch(2)])
    return frame


def test_what_a_feature_tells_is_learnt_and_equal_fits_are_equal():
    frame, (history, candidates) = grown(), batch(3)
    logits = frame.logits(history, candidates)
    assert ((logits > 0).float() == candidates.label).float().mean() > 0.97
    assert torch.equal(grown().trees_N, frame.trees_N)


def test_validation_says_how_many_trees_and_a_limit_how_many_rows():
    noise = [(history, Candidates.from_lists([[1, 2, 3, 4, 5]] * 100, now_ms=history.now_ms, features=c.features.flip(1),
              labels=c.label.view(100, 5).tolist())) for history, c in (batch(5), batch(6))]  # fmt: skip
    frame = BoostedRecommender.Config(features=("age", "is_new"), num_trees=60, patience=5, min_rows=5).build(
        num_items=9
    )
    stopped = frame.fit(noise, [batch(7)])
    assert stopped < 20
    assert frame.fit(noise, []) == 60
    small = BoostedRecommender.Config(features=("age", "is_new"), max_rows=10, min_rows=1).build(num_items=9)
    small.fit([batch(0)])
    assert torch.unique(small.logits(*batch(3))).numel() <= 10


def test_before_fit_chances_are_even_and_bad_input_is_named():
    frame = BoostedRecommender.Config(features=("age", "is_new")).build(num_items=9)
    assert torch.equal(frame.logits(*batch(3, 2)), torch.zeros(10, 1))
    with pytest.raises(DataError, match=r"candidates \(0 with labels\) must be at least one"):
        frame.fit([])
    history, candidates = batch(3, 2)
    with pytest.raises(DataError, match=r"candidate features \(2\) must be the 1"):
        BoostedRecommender.Config(features=("age",)).build(num_items=9).logits(history, candidates)
    with pytest.raises(ConfigError, match=r"lr \(0\) must lie in \(0, 1\]"):
        BoostedRecommender.Config(features=(), lr=0)
