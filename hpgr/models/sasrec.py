"""SASRec. Kang & McAuley, ICDM 2018, arXiv:1808.09781. Departs: full softmax by default, pre-norm layers with an output projection."""

from __future__ import annotations

from typing import Literal

from hpgr.encoders.attention import AttentionEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.costs import FullSoftmax, SampledBinary
from hpgr.objectives.next_item import NextItem


@MODELS.register("sasrec")
def sasrec(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 2,
    dropout: float = 0.2,
    loss: Literal["softmax", "bce"] = "softmax",
) -> ScoringRecommender.Config:
    """A causal Transformer that predicts the next item at every event."""
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=4 * dim, dropout=dropout)
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim),
        encoder=AttentionEncoder.Config(
            layer=layer, num_layers=num_layers, causal=True, position=TimeAwarePosition.Config(num_time_buckets=None)
        ),
        objective=NextItem.Config(cost=FullSoftmax() if loss == "softmax" else SampledBinary()),
    )
