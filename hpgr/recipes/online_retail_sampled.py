"""UCI Online Retail: the product bought among 20 sampled ones, after a border in time. Sampled, and named so: no lists are logged.

Nothing of the invoice itself is in the history. A sampled product may stand on the same invoice; one in some eighty does.
"""

from __future__ import annotations

from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import among_sampled


@RECIPES.register("online_retail_sampled")
def online_retail_sampled() -> Recipe:
    """Ranking of positives against sampled negatives."""
    return Recipe(
        summary="invoices of a gift shop, 20 sampled negatives, global time, ranking",
        source="online_retail",
        folder="online-retail",
        question="rank",
        limit=5000,
        entries=among_sampled(200),
    )
