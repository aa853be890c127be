"""EASE. Steck, WWW 2019, arXiv:1905.03375. Departs: recency and counts are options of ours, off by default."""

from __future__ import annotations

from hpgr.frames.linear import LinearRecommender
from hpgr.frames.registry import MODELS
from hpgr.objectives.ease import Ease


@MODELS.register("ease")
def ease(*, l2: float = 250.0, binary: bool = True, decay: float = 1.0) -> LinearRecommender.Config:
    """A linear autoencoder in closed form, for catalogues of some thousand items."""
    return LinearRecommender.Config(rule=Ease(l2=l2, binary=binary, decay=decay))
