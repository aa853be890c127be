"""Amazon Beauty (five-core), leave-one-out: what the flip, the gates and the short branch add to a selective state space.

All SIGMA entries are asked at the last event of the same drawn beginnings; ``forward, every event`` is the plain layer as it
may be trained because it is causal. Items seen are not left out, as in the published logs, whose split is RecBole's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hpgr.evaluation.published import Published
from hpgr.models.sasrec import sasrec
from hpgr.models.sigma import sigma, sigma_forward
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, SHORT_HISTORIES, left_out

_LEN = 50
_LOGS = "the authors' run logs, a filter of their own (22,363 users, 12,101 items)"


def _models() -> dict[str, Any]:
    whole = sigma()

    def without(**parts: None) -> Any:
        return replace(whole, encoder=replace(whole.encoder, **parts))

    return {
        "sigma": whole,
        "sigma, no flip": without(flip=None),
        "sigma, no gate": without(gate=None),
        "sigma, no short branch": without(short=None),
        "sigma, forward": without(flip=None, gate=None, short=None),
        "sigma, forward, every event": sigma_forward(),
        "sasrec ce": sasrec(dropout=0.5),
    }


@RECIPES.register("beauty_sigma")
def beauty_sigma() -> Recipe:
    """SIGMA, the same without each part, its plain layer, and SASRec."""
    return Recipe(
        summary="reviews of beauty products (five-core), leave-one-out: SIGMA part by part",
        source="amazon_beauty",
        folder="amazon-beauty",
        question="retrieve",
        published={
            "sigma": Published(metrics={"HitRate@10": 0.0761, "NDCG@10": 0.0452}, source=_LOGS),
            "sigma, no flip": Published(metrics={"HitRate@10": 0.0709, "NDCG@10": 0.0420}, source=_LOGS),
            "sigma, no gate": Published(metrics={"HitRate@10": 0.0728, "NDCG@10": 0.0437}, source=_LOGS),
            "sigma, forward": Published(metrics={"HitRate@10": 0.0659, "NDCG@10": 0.0410}, source=_LOGS),
        },
        entries=(*left_out(COUNTS, max_len=_LEN), *left_out(_models(), SHORT_HISTORIES, max_len=_LEN)),
    )
