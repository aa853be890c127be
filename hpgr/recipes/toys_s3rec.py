"""Amazon Toys and Games as S3-Rec prepared it, leave-one-out, whole catalogue, items seen left out. Order only, no times."""

from __future__ import annotations

from hpgr.models.sasrec import sasrec
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, SHORT_HISTORIES, left_out


@RECIPES.register("toys_s3rec")
def toys_s3rec() -> Recipe:
    """SASRec and counting on short histories."""
    return Recipe(
        summary="reviews of toys (five-core), leave-one-out",
        source="published_sequences",
        folder="published-sequences",
        view={"file": "s3rec-toys"},
        question="retrieve",
        exclude_seen=True,
        entries=(
            *left_out(COUNTS, max_len=50),
            *left_out({"sasrec ce": sasrec(dropout=0.5)}, SHORT_HISTORIES, max_len=50),
        ),
    )
