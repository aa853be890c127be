"""MovieLens 1M in SASRec's order, leave-one-out, whole catalogue, films seen left out: the figures that papers report.

The public order has no times, so HSTU runs without its time bias; its figures are those of ablations. Papers differ in the
films that they keep (3,416 here, 3,706 in HSTU's code) and in how they break ties of time.
"""

from __future__ import annotations

from functools import partial

from hpgr.evaluation.published import Published
from hpgr.models.bert4rec import bert4rec
from hpgr.models.gsasrec import gsasrec
from hpgr.models.hstu import hstu
from hpgr.models.sasrec import sasrec
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, left_out
from hpgr.training.settings import StageSettings

_LEN = 200
# Klenitskiy & Vasilev, RecSys 2023; Petrov & Macdonald, RecSys 2023 (gSASRec) and 2022 (BERT4Rec); Zhai et al., ICML 2024.
_LOSSES, _GSASREC, _REPRO = "arXiv:2309.07602", "github.com/asash/gSASRec-pytorch", "arXiv:2207.07483"
_RECTOOLS = "ablation of github.com/MobileTeleSystems/RecTools"
_PUBLISHED = {
    "sasrec bce": Published(
        metrics={"HitRate@10": (0.2392, 0.2500), "NDCG@10": (0.1259, 0.1341)}, source=f"{_GSASREC}, {_LOSSES}"
    ),
    "sasrec ce": Published(metrics={"HitRate@10": 0.3152, "NDCG@10": 0.1821}, source=_LOSSES),
    "gsasrec": Published(metrics={"HitRate@10": 0.3003, "NDCG@10": 0.1726}, source=_GSASREC),
    "bert4rec": Published(
        metrics={"HitRate@10": (0.2821, 0.2843), "NDCG@10": (0.1516, 0.1537)}, source=f"{_REPRO}, {_LOSSES}"
    ),
    "hstu position": Published(metrics={"HitRate@10": 0.3023, "NDCG@10": 0.1718}, source=_RECTOOLS),
    "hstu none": Published(metrics={"HitRate@10": 0.2980, "NDCG@10": 0.1686}, source=_RECTOOLS),
}


@RECIPES.register("ml1m_published")
def ml1m_published() -> Recipe:
    """SASRec by its losses, BERT4Rec and HSTU, with the widths and rates of their sources, and counting; an hour of one core each."""
    rows = partial(left_out, max_len=_LEN, batch_tokens=4096)
    return Recipe(
        summary="films, leave-one-out, full ranking: published figures",
        source="ml_1m_ordered",
        folder="ml-1m-ordered",
        question="retrieve",
        exclude_seen=True,
        published=_PUBLISHED,
        entries=(
            *rows({"sasrec ce": sasrec(num_heads=1, dropout=0.1)}, StageSettings(epochs=50, patience=5)),
            *rows({"sasrec bce": sasrec(dim=50, num_heads=1, loss="bce")}, StageSettings(epochs=120, patience=10)),
            *rows({"gsasrec": gsasrec()}, StageSettings(epochs=55, limit_batches=100, patience=10)),
            *rows(
                {"bert4rec": bert4rec(dropout=0.2, max_len=_LEN)},
                StageSettings(epochs=80, weight_decay=0.01, betas=(0.9, 0.999), warmup_steps=100, patience=15),
            ),
            *rows(
                {
                    "hstu position": hstu(dim=50, max_len=_LEN, bias="position"),
                    "hstu none": hstu(dim=50, max_len=_LEN, bias=None),
                },
                StageSettings(epochs=100, patience=10),
            ),
            *rows(COUNTS),
        ),
    )
