"""GRU4Rec. Hidasi et al., ICLR 2016, arXiv:1511.06939; Hidasi & Karatzoglou, CIKM 2018, arXiv:1706.03847.

Departs: see ``docs/models/gru4rec.md``.
"""

from __future__ import annotations

from typing import Literal

from hpgr.core.errors import UnknownNameError
from hpgr.encoders.gru import GruEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.objectives.costs import ItemCost
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.ranking_costs import Bpr, BprMax, Top1, Top1Max
from hpgr.objectives.sampled_costs import SampledSoftmax

Loss = Literal["softmax", "bpr-max", "top1-max", "bpr", "top1"]


@MODELS.register("gru4rec")
def gru4rec(
    *,
    dim: int = 64,
    num_layers: int = 1,
    input_dropout: float = 0.1,
    dropout: float = 0.0,
    scope: Literal["session", "user"] = "session",
    output: Literal["tied", "separate"] = "tied",
    loss: Loss = "softmax",
    num_negatives: int = 256,
) -> ScoringRecommender.Config:
    """A GRU over the events of a session; costs against the batch's other targets and items that the batch shares.

    ``output``: scores are made with the vectors that are read (the article's constrained embedding) or a table of their own.
    """
    costs: dict[str, ItemCost] = {
        "softmax": SampledSoftmax(num_negatives=num_negatives, alpha=0.5, in_batch=True, log_q=True),
        "bpr-max": BprMax(num_negatives=num_negatives),
        "top1-max": Top1Max(num_negatives=num_negatives),
        "bpr": Bpr(num_negatives=num_negatives),
        "top1": Top1(num_negatives=num_negatives),
    }
    if loss not in costs:
        raise UnknownNameError.of("loss", loss, costs)
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, std=None, output=output, output_bias=True),
        encoder=GruEncoder.Config(num_layers=num_layers, scope=scope, input_dropout=input_dropout, dropout=dropout),
        objective=NextItem.Config(cost=costs[loss]),
    )


@MODELS.register("gru4rec-bprmax")
def gru4rec_bprmax(
    *, dim: int = 64, num_layers: int = 1, input_dropout: float = 0.5, dropout: float = 0.0, num_negatives: int = 256
) -> ScoringRecommender.Config:
    """The same under BPR-max, with the larger dropout it is published with."""
    return gru4rec(
        dim=dim,
        num_layers=num_layers,
        input_dropout=input_dropout,
        dropout=dropout,
        loss="bpr-max",
        num_negatives=num_negatives,
    )
