"""eSASRec. Tikhonovich et al., RecSys 2025, arXiv:2508.06450. Departs: see ``docs/models/esasrec.md``."""

from __future__ import annotations

from hpgr.encoders.attention import AttentionEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.norm import NormKind
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.sampled_costs import SampledSoftmax


@MODELS.register("esasrec")
def esasrec(
    *,
    dim: int = 64,
    num_heads: int = 1,
    num_layers: int = 2,
    dropout: float = 0.1,
    norm_kind: NormKind = "layer",
    num_negatives: int = 256,
) -> ScoringRecommender.Config:
    """SASRec with LiGR layers: pre-norm, SwiGLU, and a gate on what each branch adds."""
    layer = TransformerLayer.Config(
        num_heads=num_heads, ffn_dim=4 * dim, norm_kind=norm_kind, act="swiglu", dropout=dropout, gated=True
    )
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        encoder=AttentionEncoder.Config(
            layer=layer,
            num_layers=num_layers,
            position=TimeAwarePosition.Config(num_time_buckets=None),
            dropout=dropout,
            init_std=0.02,
        ),
        objective=NextItem.Config(cost=SampledSoftmax(num_negatives=num_negatives, shared="prediction")),
    )
