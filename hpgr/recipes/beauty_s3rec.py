"""Amazon Beauty as S3-Rec prepared it (users and items with five events), leave-one-out, whole catalogue, items seen left out.

With the days of the reviews: more than half of all events share theirs with another of the user, so part of what is called
order is the order of a file; ``-permuted`` shuffles it inside a day.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hpgr.evaluation.published import Published
from hpgr.models.hstu import hstu
from hpgr.models.sasrec import sasrec
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, SHORT_HISTORIES, left_out

_LEN = 50
_ZOO = "a public model zoo, SASRec beside HSTU, losses of its own"


def _recipe(summary: str, view: dict[str, Any], published: dict[str, Published]) -> Recipe:
    whole = hstu(dropout=0.5, max_len=_LEN)
    models = {
        "sasrec ce": sasrec(dropout=0.5),
        "hstu": whole,
        "hstu, own time": replace(whole, encoder=replace(whole.encoder, query_time="own")),
        "hstu, full softmax": hstu(dropout=0.5, max_len=_LEN, negatives=None),
    }
    return Recipe(
        summary=summary,
        source="amazon_beauty",
        folder="amazon-beauty",
        view=view,
        question="retrieve",
        exclude_seen=True,
        published=published,
        entries=(
            *left_out(COUNTS, max_len=_LEN),
            *left_out(models, SHORT_HISTORIES, max_len=_LEN),
        ),
    )


@RECIPES.register("beauty_s3rec")
def beauty_s3rec() -> Recipe:
    """SASRec, HSTU and counting on the set that most later papers use."""
    published = {
        "sasrec ce": Published(metrics={"HitRate@10": 0.0688, "NDCG@10": 0.0375}, source=_ZOO),
        "hstu": Published(metrics={"HitRate@10": 0.0708, "NDCG@10": 0.0412}, source=_ZOO),
    }
    return _recipe("reviews of beauty products (five-core), leave-one-out: published figures", {}, published)


@RECIPES.register("beauty_s3rec-permuted")
def beauty_s3rec_permuted() -> Recipe:
    """The control: the order inside a day is shuffled."""
    return _recipe("reviews of beauty products (five-core), days shuffled", {"ties": "permuted"}, {})
