"""UCI Online Retail: every product of each customer's last invoice among all products; an invoice is a set, repeats count."""

from __future__ import annotations

from hpgr.data.split_rules import LastSession
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import retrievers, runs
from hpgr.training.settings import StageSettings


@RECIPES.register("online_retail_last_session")
def online_retail_last_session() -> Recipe:
    """Retrieval of baskets: nothing of the invoice asked about is known when it is asked."""
    return Recipe(
        summary="invoices of a gift shop, last session, retrieval",
        source="online_retail",
        folder="online-retail",
        question="retrieve",
        entries=runs(retrievers(), split=LastSession(), max_len=200, retrieve=StageSettings(epochs=8, lr=3e-3)),
    )
