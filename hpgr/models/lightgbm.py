"""Gradient-boosted trees on the cross features: what a production ranker is, in minutes. Ke et al., NeurIPS 2017."""

from __future__ import annotations

from hpgr.frames.boosted import BoostedRecommender
from hpgr.frames.ranking import FEATURES
from hpgr.frames.registry import MODELS


@MODELS.register("lightgbm")
def lightgbm(*, num_trees: int = 400, num_leaves: int = 7, lr: float = 0.05) -> BoostedRecommender.Config:
    """Trees on counts, ages and rates of the candidate, and on the hour; needs the extra ``boost``."""
    return BoostedRecommender.Config(features=FEATURES, num_trees=num_trees, num_leaves=num_leaves, lr=lr)
