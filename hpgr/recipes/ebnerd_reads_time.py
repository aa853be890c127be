"""EB-NeRD demo, article reads: the last two days after training on what came before; most articles are new by then."""

from __future__ import annotations

from hpgr.data.split_rules import GlobalTime
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import retrievers, runs
from hpgr.training.settings import StageSettings


@RECIPES.register("ebnerd_reads_time")
def ebnerd_reads_time() -> Recipe:
    """Retrieval under a global time split: a catalogue of ids goes cold within hours."""
    return Recipe(
        summary="news reads, global time, retrieval",
        source="ebnerd",
        folder="ebnerd-demo",
        view={"view": "reads"},
        question="retrieve",
        entries=runs(
            retrievers(),
            split=GlobalTime(max_targets_per_user=10),
            max_len=200,
            retrieve=StageSettings(epochs=8, lr=3e-3),
        ),
    )
