"""ClusterSeq. Maheri et al., arXiv:2307.13766. Departs: its formulas are not known; ``docs/models/clusterseq.md`` says what is ours."""

from __future__ import annotations

from typing import Literal

from hpgr.encoders.gru import GruEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.soft_clusters import SoftClusters
from hpgr.objectives.few_shot import FewShot
from hpgr.objectives.margin_ranking import MarginRanking
from hpgr.objectives.next_item import NextItem


@MODELS.register("clusterseq")
def clusterseq(
    *,
    dim: int = 64,
    num_support: int = 5,
    num_steps: int = 1,
    num_clusters: int | None = 8,
    num_negatives: int = 8,
    dropout: float = 0.2,
    predict: Literal["every", "last"] = "every",
) -> ScoringRecommender.Config:
    """For users of a few events: a step of learning on them, from a start that the user's cluster knows.

    ``num_clusters`` None: one start for all users, as in MetaTL. ``predict``: ``last`` with windows of ``num_support + 1`` events
    and ``windows.sampling=proportional`` trains on tasks as the related systems do.
    """
    clusters = None if num_clusters is None else SoftClusters.Config(num_clusters=num_clusters)
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, std=None, distance=True),
        encoder=GruEncoder.Config(scope="user"),
        objective=NextItem.Config(predict=predict, cost=MarginRanking(num_negatives=num_negatives)),
        adapter=FewShot.Config(num_support=num_support, num_steps=num_steps, clusters=clusters, dropout=dropout),
    )
