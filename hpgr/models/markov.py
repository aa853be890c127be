"""First-order Markov chain: what followed the newest item."""

from __future__ import annotations

from hpgr.frames.counting import CountingRecommender
from hpgr.frames.registry import MODELS
from hpgr.objectives.links import SkipLinks


@MODELS.register("markov")
def markov() -> CountingRecommender.Config:
    """Items are scored by how often they came right after the user's newest item."""
    return CountingRecommender.Config(rule=SkipLinks(reach=1))
