"""UCI Online Retail: the product bought among 20 drawn by how often each is bought, after a border in time. Sampled, and named so.

Uniform negatives are told apart by popularity alone; these are not. Else as ``online_retail_sampled``.
"""

from __future__ import annotations

from dataclasses import replace

from hpgr.data.negatives import SampledNegatives
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.online_retail_sampled import online_retail_sampled


@RECIPES.register("online_retail_popular")
def online_retail_popular() -> Recipe:
    """Ranking of positives against popular negatives."""
    uniform, drawn = online_retail_sampled(), SampledNegatives(negatives=20, sampler="popularity")
    return replace(
        uniform,
        summary="invoices of a gift shop, 20 negatives by popularity, global time, ranking",
        entries=tuple(replace(run, candidates=replace(run.candidates, negatives=drawn)) for run in uniform.entries),
    )
