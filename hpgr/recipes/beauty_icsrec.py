"""Amazon Beauty as S3-Rec prepared it, leave-one-out: what each contrast of ICSRec adds to the same Transformer. Qin et al., WSDM 2024.

The published figure gives what was seen the score 0, and items below 0 rank behind it; here it is left out.
"""

from __future__ import annotations

from dataclasses import replace

from hpgr.data.windows import TrainWindows
from hpgr.evaluation.published import Published
from hpgr.models.icsrec import icsrec
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, SHORT_HISTORIES, left_out

_LEN = 50


@RECIPES.register("beauty_icsrec")
def beauty_icsrec() -> Recipe:
    """The backbone alone, with one contrast, with both, and as the article trains it: a window for every prefix."""
    settings = replace(SHORT_HISTORIES, clip=None)
    whole = icsrec(dropout=0.5, num_prototypes=256)
    models = {
        "backbone": replace(whole, auxiliary=None),
        "coarse only": icsrec(dropout=0.5, fine=0.0),
        "fine only": icsrec(dropout=0.5, coarse=0.0, num_prototypes=256),
        "icsrec": whole,
    }
    prefixes = TrainWindows.Config(max_len=_LEN, batch_tokens=2048, sampling="prefixes")
    by_prefix = icsrec(dropout=0.5, num_prototypes=256, predict="last")
    article = {"backbone, prefixes": replace(by_prefix, auxiliary=None), "icsrec, prefixes": by_prefix}
    figure = Published(metrics={"HitRate@10": 0.0959, "NDCG@10": 0.0578}, source="QinHsiu/ICSRec, README")
    return Recipe(
        summary="reviews of beauty products (five-core), leave-one-out: intent contrasts",
        source="amazon_beauty",
        folder="amazon-beauty",
        question="retrieve",
        exclude_seen=True,
        published={"icsrec, prefixes": figure},
        entries=(
            *left_out(COUNTS, max_len=_LEN),
            *left_out(models, settings, max_len=_LEN),
            *(replace(run, windows=prefixes) for run in left_out(article, settings, max_len=_LEN)),
        ),
    )
