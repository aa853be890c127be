"""30Music sample: the song played among 20 sampled ones, a month after training. Sampled, and named so: the log shows no lists."""

from __future__ import annotations

from hpgr.data.negatives import SampledNegatives
from hpgr.data.requests import SampledRequests
from hpgr.data.split_rules import GlobalTime
from hpgr.frames.ranking import FEATURES
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import COUNTING, rankers, runs
from hpgr.training.settings import StageSettings


@RECIPES.register("thirty_music_sampled")
def thirty_music_sampled() -> Recipe:
    """Ranking of positives against sampled negatives."""
    return Recipe(
        summary="music plays, 20 sampled negatives, global time, ranking",
        source="thirty_music",
        folder="30music-sample",
        question="rank",
        limit=5000,
        entries=runs(
            rankers(FEATURES) | COUNTING,
            split=GlobalTime(max_targets_per_user=5),
            max_len=100,
            candidates=SampledRequests.Config(
                negatives=SampledNegatives(negatives=20), positives_per_user=3, batch_tokens=4096
            ),
            retrieve=StageSettings(epochs=8, lr=3e-3),
            rank=StageSettings(epochs=3, limit_batches=80),
        ),
    )
