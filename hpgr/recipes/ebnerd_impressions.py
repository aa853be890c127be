"""EB-NeRD demo, impression lists: which of the articles shown was clicked, a day and a week after training.

Shown articles are mostly new, so age, recent clicks and exposures enter as cross features; an article outside the catalogue
shares one trained vector and its candidates read the newest events.
"""

from __future__ import annotations

from hpgr.data.requests import ExposedRequests
from hpgr.data.split_rules import GlobalTime
from hpgr.frames.ranking import FEATURES
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import COUNTING, rankers, runs
from hpgr.training.settings import StageSettings

_SHOWN = ("shown_hour", "shown_day", "click_rate_day")


@RECIPES.register("ebnerd_impressions")
def ebnerd_impressions() -> Recipe:
    """Ranking of what was shown: AUC, GAUC and NDCG inside lists."""
    return Recipe(
        summary="news impression lists, global time, ranking",
        source="ebnerd",
        folder="ebnerd-demo",
        view={"view": "impressions"},
        question="rank",
        limit=5000,
        entries=runs(
            rankers((*FEATURES, *_SHOWN), num_actions=2) | COUNTING,
            split=GlobalTime(valid_from="2023-05-24T07:00", test_from="2023-05-25T07:00"),
            max_len=100,
            candidates=ExposedRequests.Config(batch_tokens=4096),
            retrieve=StageSettings(epochs=8, lr=3e-3, patience=2),
            rank=StageSettings(epochs=3, limit_batches=80),
        ),
    )
