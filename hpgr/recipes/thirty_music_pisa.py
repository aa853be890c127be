"""30Music sample: all songs of each listener's last session, asked once when it begins; what activation and memory add, part by part.

The slices of songs heard before (repeat) and new ones (explore) are the answer; means are over the listeners who have such songs.
The article's logs, with 50 sessions a listener and more, are not at hand: this one has three sessions a listener on average.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hpgr.data.split_rules import LastSession
from hpgr.models.actr import actr
from hpgr.models.pisa import pisa
from hpgr.models.sasrec import sasrec
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import COUNTING, runs
from hpgr.training.settings import StageSettings


def _models() -> dict[str, Any]:
    whole = pisa()
    encoder, backbone = whole.encoder, replace(sasrec(), objective=whole.objective)

    def pooled(**options: Any) -> Any:
        return replace(whole, encoder=replace(encoder, pool=replace(encoder.pool, **options)))

    return {
        "pisa": whole,
        "pisa, base level alone": pooled(spread=None, matching=False),
        "pisa, no matching": pooled(matching=False),
        "pisa, no memory": replace(whole, adapter=None),
        "pisa bpr": pisa(loss="bpr"),
        "sasrec": backbone,
        "sasrec with memory": replace(backbone, adapter=whole.adapter),
        "actr": actr(),
        "actr, repeats alone": actr(spread=0.0),
    }


@RECIPES.register("thirty_music_pisa")
def thirty_music_pisa() -> Recipe:
    """PISA, the same without each part, its backbone with and without the memory, ACT-R by counting, and the other counts."""
    settings = StageSettings(epochs=16, lr=3e-3, patience=3)
    return Recipe(
        summary="music plays, native sessions, all songs of the last session: PISA part by part",
        source="thirty_music",
        folder="30music-sample",
        question="retrieve",
        entries=runs(_models() | COUNTING, split=LastSession(targets="all"), max_len=100, retrieve=settings),
    )
