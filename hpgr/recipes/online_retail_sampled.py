"""UCI Online Retail: the product bought among 20 sampled ones, after a border in time. Sampled, and named so: no lists are logged.

Nothing of the invoice itself is in the history. A sampled product may stand on the same invoice; one in some eighty does.
"""

from __future__ import annotations

from hpgr.data.negatives import SampledNegatives
from hpgr.data.requests import SampledRequests
from hpgr.data.split_rules import GlobalTime
from hpgr.frames.ranking import FEATURES
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import COUNTING, rankers, runs
from hpgr.training.settings import StageSettings


@RECIPES.register("online_retail_sampled")
def online_retail_sampled() -> Recipe:
    """Ranking of positives against sampled negatives."""
    return Recipe(
        summary="invoices of a gift shop, 20 sampled negatives, global time, ranking",
        source="online_retail",
        folder="online-retail",
        question="rank",
        limit=5000,
        entries=runs(
            rankers(FEATURES) | COUNTING,
            split=GlobalTime(max_targets_per_user=5),
            max_len=200,
            candidates=SampledRequests.Config(
                negatives=SampledNegatives(negatives=20), positives_per_user=3, batch_tokens=4096
            ),
            retrieve=StageSettings(epochs=8, lr=3e-3),
            rank=StageSettings(epochs=3, limit_batches=80),
        ),
    )
