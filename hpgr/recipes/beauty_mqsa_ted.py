"""Amazon Beauty as S3-Rec prepared it, leave-one-out: what the window query and the distilled transitions add. Zhu et al., WSDM 2024.

The published figures are at 5, which result cards do not hold.
"""

from __future__ import annotations

from dataclasses import replace

from hpgr.models.mqsa_ted import mqsa_ted
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, SHORT_HISTORIES, left_out

_LEN = 50


@RECIPES.register("beauty_mqsa_ted")
def beauty_mqsa_ted() -> Recipe:
    """Queries of single events alone, with windows, with distillation, with both; items that were seen are left out."""
    whole = mqsa_ted(dropout=0.5)
    single = whole.encoder.first
    single = replace(single, position=whole.encoder.position)
    models = {
        "single queries": replace(whole, encoder=single, auxiliary=None),
        "mqsa only": replace(whole, auxiliary=None),
        "ted only": replace(whole, encoder=single),
        "mqsa_ted": whole,
    }
    return Recipe(
        summary="reviews of beauty products (five-core), leave-one-out: window queries and distilled transitions",
        source="amazon_beauty",
        folder="amazon-beauty",
        question="retrieve",
        exclude_seen=True,
        entries=(*left_out(COUNTS, max_len=_LEN), *left_out(models, SHORT_HISTORIES, max_len=_LEN)),
    )
