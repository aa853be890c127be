"""KuaiRand-Pure, standard policy: is a shown video clicked? By time; the videos' month averages look ahead and stay out."""

from __future__ import annotations

from hpgr.data.requests import ExposedRequests
from hpgr.data.split_rules import GlobalTime
from hpgr.frames.ranking import FEATURES
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import COUNTING, rankers, runs
from hpgr.training.settings import StageSettings

_CLICKED = 2
"""The code of ``label=1`` behind that of ``label=0``."""
_SHOWN = ("shown_day", "click_rate_day", "category_match")


@RECIPES.register("kuairand_clicks")
def kuairand_clicks() -> Recipe:
    """Click prediction with short histories that hold clicked and unclicked exposures."""
    return Recipe(
        summary="short-video exposures, global time, click ranking",
        source="kuairand_pure",
        folder="kuairand-pure-slice",
        question="rank",
        limit=10000,
        entries=runs(
            rankers((*FEATURES, *_SHOWN), num_actions=2, chosen=(_CLICKED,)) | COUNTING,
            split=GlobalTime(valid_share=0.15, test_share=0.25),
            max_len=50,
            candidates=ExposedRequests.Config(batch_tokens=4096),
            retrieve=StageSettings(epochs=8, lr=3e-3),
            rank=StageSettings(epochs=4, limit_batches=200, metric="AUC"),
        ),
    )
