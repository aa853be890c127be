"""30Music sample: the song played among 20 sampled ones, a month after training. Sampled, and named so: the log shows no lists."""

from __future__ import annotations

from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import among_sampled


@RECIPES.register("thirty_music_sampled")
def thirty_music_sampled() -> Recipe:
    """Ranking of positives against sampled negatives."""
    return Recipe(
        summary="music plays, 20 sampled negatives, global time, ranking",
        source="thirty_music",
        folder="30music-sample",
        question="rank",
        limit=5000,
        entries=among_sampled(100),
    )
