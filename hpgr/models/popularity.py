"""What is most often seen, for everybody."""

from __future__ import annotations

from hpgr.frames.counting import CountingRecommender
from hpgr.frames.registry import MODELS


@MODELS.register("popularity")
def popularity() -> CountingRecommender.Config:
    """Every user gets the items with the most training events."""
    return CountingRecommender.Config()
