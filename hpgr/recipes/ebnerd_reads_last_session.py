"""EB-NeRD demo, article reads: every read of each reader's last session among all articles read before."""

from __future__ import annotations

from hpgr.data.split_rules import LastSession
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import retrievers, runs
from hpgr.training.settings import StageSettings


@RECIPES.register("ebnerd_reads_last_session")
def ebnerd_reads_last_session() -> Recipe:
    """Retrieval with long histories and many short sessions."""
    return Recipe(
        summary="news reads, last session, retrieval",
        source="ebnerd",
        folder="ebnerd-demo",
        view={"view": "reads"},
        question="retrieve",
        entries=runs(retrievers(), split=LastSession(), max_len=200, retrieve=StageSettings(epochs=8, lr=3e-3)),
    )
