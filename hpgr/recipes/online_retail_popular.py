"""UCI Online Retail: the product bought among 20 drawn by how often each is bought, after a border in time. Sampled, and named so.

Uniform negatives are told apart by popularity alone; these are not.
"""

from __future__ import annotations

from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import among_sampled


@RECIPES.register("online_retail_popular")
def online_retail_popular() -> Recipe:
    """Ranking of positives against popular negatives."""
    return Recipe(
        summary="invoices of a gift shop, 20 negatives by popularity, global time, ranking",
        source="online_retail",
        folder="online-retail",
        question="rank",
        limit=5000,
        entries=among_sampled(200, sampler="popularity"),
    )
