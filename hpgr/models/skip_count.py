"""Skip counts: what followed the newest items within a few steps, weighted by 1 / distance on both sides."""

from __future__ import annotations

from hpgr.frames.counting import CountingRecommender
from hpgr.frames.registry import MODELS
from hpgr.objectives.links import SkipLinks


@MODELS.register("skip_count")
def skip_count(*, reach: int = 3) -> CountingRecommender.Config:
    """A counting baseline that needs seconds and is hard to beat on short histories."""
    return CountingRecommender.Config(rule=SkipLinks(reach=reach))
