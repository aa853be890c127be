"""Amazon Beauty as S3-Rec prepared it, leave-one-out: SASRec and SIGMA asked once and in five rounds. Li et al., AAAI 2024."""

from __future__ import annotations

from dataclasses import replace

from hpgr.evaluation.published import Published
from hpgr.models.ada_retrieval import ada_retrieval
from hpgr.models.sigma import sigma
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, SHORT_HISTORIES, left_out

_LEN = 50
_SOURCE = "the authors' result files, one sampled binary cost, a file of their own"


@RECIPES.register("beauty_ada_retrieval")
def beauty_ada_retrieval() -> Recipe:
    """Each base as it is, trained as long again, and in rounds of twenty; all rounds begin with what the base has learnt."""
    rounds = ada_retrieval(dropout=0.5)
    models = {
        "sasrec": rounds.base,
        "sasrec, trained on": replace(rounds, rounds=1),
        "sasrec in rounds": rounds,
        "sigma": sigma(),
        "sigma, trained on": replace(rounds, base=sigma(), rounds=1),
        "sigma in rounds": replace(rounds, base=sigma()),
    }
    entries = left_out(models, SHORT_HISTORIES, max_len=_LEN)
    return Recipe(
        summary="reviews of beauty products (five-core), leave-one-out: asked once and in rounds",
        source="amazon_beauty",
        folder="amazon-beauty",
        question="retrieve",
        exclude_seen=True,
        published={
            "sasrec": Published(metrics={"HitRate@50": 0.1688, "NDCG@50": 0.0643}, source=_SOURCE),
            "sasrec in rounds": Published(metrics={"HitRate@50": 0.1784, "NDCG@50": 0.0704}, source=_SOURCE),
        },
        entries=(
            *left_out(COUNTS, max_len=_LEN),
            *(replace(run, stages={"retrieve": SHORT_HISTORIES, "rounds": SHORT_HISTORIES}) for run in entries),
        ),
    )
