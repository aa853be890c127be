"""Amazon Beauty in BERT4Rec's file, leave-one-out, whole catalogue, items seen left out. Klenitskiy & Vasilev, RecSys 2023.

One target in ten is in no training event, and no model of ids finds it. The published counts break ties to the more popular item.
"""

from __future__ import annotations

from hpgr.evaluation.published import Published
from hpgr.models.bert4rec import bert4rec
from hpgr.models.sasrec import sasrec
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, left_out
from hpgr.training.run import Run
from hpgr.training.settings import StageSettings

_LEN = 50
# A table of 52,000 × 52,000 does not fit.
_COUNTS = {name: config for name, config in COUNTS.items() if name != "ease"}
_LOSSES, _COUNTED = "arXiv:2309.07602", "counts over the same file, ties to the more popular item"


def _figures(hit_rate: float, ndcg: float, source: str) -> Published:
    return Published(metrics={"HitRate@10": hit_rate, "NDCG@10": ndcg}, source=source)


def _recipe(summary: str, entries: tuple[Run, ...], published: dict[str, Published]) -> Recipe:
    return Recipe(
        summary=summary,
        source="published_sequences",
        folder="published-sequences",
        view={"file": "bert4rec-beauty"},
        question="retrieve",
        exclude_seen=True,
        published=published,
        entries=entries,
    )


@RECIPES.register("beauty_bert4rec")
def beauty_bert4rec() -> Recipe:
    """SASRec by its losses, BERT4Rec and counting on short histories and many items."""
    causal = StageSettings(epochs=30, lr=1e-3, patience=4)
    models = {"sasrec ce": sasrec(num_heads=1, dropout=0.1), "sasrec bce": sasrec(num_heads=1, dropout=0.1, loss="bce")}
    cloze = bert4rec(dropout=0.2, max_len=_LEN, mask_prob=0.6, max_predictions=30)
    entries = (
        *left_out(_COUNTS, max_len=_LEN),
        *left_out(models, causal, max_len=_LEN),
        *left_out({"bert4rec": cloze}, StageSettings(epochs=60, lr=1e-3, patience=8), max_len=_LEN),
    )
    published = {
        "markov": _figures(0.0424, 0.0287, _COUNTED),
        "skip_count": _figures(0.0539, 0.0341, _COUNTED),
        "sasrec ce": _figures(0.0533, 0.0327, _LOSSES),
        "sasrec bce": _figures(0.0246, 0.0126, _LOSSES),
        "bert4rec": _figures(0.0338, 0.0187, _LOSSES),
    }
    return _recipe("reviews of beauty products, leave-one-out, full ranking: published figures", entries, published)


@RECIPES.register("beauty_bert4rec-refit")
def beauty_bert4rec_refit() -> Recipe:
    """The same questions asked of counts that also hold the validation events."""
    entries = left_out(_COUNTS, max_len=_LEN, train_on_validation=True)
    published = {"skip_count": _figures(0.0598, 0.0385, _COUNTED)}
    return _recipe("reviews of beauty products, counts with the validation events", entries, published)
