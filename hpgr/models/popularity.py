"""What is most often seen, for everybody: ever, lately, or at this hour."""

from __future__ import annotations

from hpgr.frames.counting import CountingRecommender
from hpgr.frames.registry import MODELS
from hpgr.objectives.clocks import HourOfDay, Recently


@MODELS.register("popularity")
def popularity() -> CountingRecommender.Config:
    """Every user gets the items with the most training events."""
    return CountingRecommender.Config()


@MODELS.register("popularity-recent")
def popularity_recent(
    *, window_days: float | None = 7.0, half_life_days: float | None = None
) -> CountingRecommender.Config:
    """Every user gets the items with the most events shortly before the end of training."""
    return CountingRecommender.Config(clock=Recently(window_days=window_days, half_life_days=half_life_days))


@MODELS.register("popularity-hour")
def popularity_hour(*, utc_offset_h: float = 0.0) -> CountingRecommender.Config:
    """Every user gets the items with the most training events at this hour of the day."""
    return CountingRecommender.Config(clock=HourOfDay(utc_offset_h=utc_offset_h))
