"""Amazon Beauty (five-core): the product reviewed among 20 sampled ones, after a border in time. Sampled, and named so: no lists are logged.

Times are days, and the order inside a day is that of the file. Histories are short: six events in the middle.
"""

from __future__ import annotations

from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import among_sampled


@RECIPES.register("beauty_sampled")
def beauty_sampled() -> Recipe:
    """Ranking of positives against sampled negatives."""
    return Recipe(
        summary="reviews of beauty products, 20 sampled negatives, global time, ranking",
        source="amazon_beauty",
        folder="amazon-beauty",
        question="rank",
        limit=5000,
        entries=among_sampled(50),
    )
