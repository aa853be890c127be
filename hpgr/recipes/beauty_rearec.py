"""Amazon Beauty as S3-Rec prepared it, leave-one-out: what steps of reasoning add to a Transformer. Tang et al., 2025, arXiv:2503.22675.

The article asks other data by absolute time, and its evaluator keeps what was seen. Items that were seen are left out here, so that the
rows stand beside those of the other recipes on Beauty; no published figure goes with them.
"""

from __future__ import annotations

from dataclasses import replace

from hpgr.frames.scoring import ScoringRecommender
from hpgr.models.rearec import rearec, rearec_ensemble
from hpgr.objectives.next_item import NextItem
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, SHORT_HISTORIES, left_out

_LEN = 50
_TWO_EPOCHS = 310
"""Batches."""


@RECIPES.register("beauty_rearec")
def beauty_rearec() -> Recipe:
    """The backbone alone, progressive learning with one step and with two, and the mean of two steps."""
    settings = replace(SHORT_HISTORIES, clip=None)
    whole = _late(rearec(dropout=0.5))
    models = {
        "no step": replace(whole, encoder=whole.encoder.encoder, objective=NextItem.Config()),
        "rearec, one step": _late(rearec(dropout=0.5, steps=1)),
        "rearec": whole,
        "rearec-ensemble": rearec_ensemble(dropout=0.5),
    }
    return Recipe(
        summary="reviews of beauty products (five-core), leave-one-out: steps of reasoning",
        source="amazon_beauty",
        folder="amazon-beauty",
        question="retrieve",
        exclude_seen=True,
        entries=(*left_out(COUNTS, max_len=_LEN), *left_out(models, settings, max_len=_LEN)),
    )


def _late(config: ScoringRecommender.Config) -> ScoringRecommender.Config:
    """The noisy copy and its contrast after the first epochs, as in the article."""
    return replace(config, encoder=replace(config.encoder, warmup_batches=_TWO_EPOCHS))
