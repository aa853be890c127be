"""SASRec. Kang & McAuley, ICDM 2018, arXiv:1808.09781. Departs: full softmax by default, pre-norm layers with an output projection."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from hpgr.core.errors import UnknownNameError
from hpgr.encoders.attention import AttentionEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.bucketed_cost import BucketedSoftmax
from hpgr.objectives.costs import FullSoftmax, ItemCost, SampledBinary
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.sampled_costs import GeneralisedBinary, SampledSoftmax


@MODELS.register("sasrec")
def sasrec(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 2,
    dropout: float = 0.2,
    loss: Literal["softmax", "bce", "sampled", "gbce", "bucketed"] = "softmax",
    block: Literal["pre", "post", "released"] = "pre",
) -> ScoringRecommender.Config:
    """A causal Transformer that predicts the next item at every event; ``block``: where its layers norm."""
    costs: dict[str, ItemCost] = {
        "softmax": FullSoftmax(),
        "bce": SampledBinary(),
        "sampled": SampledSoftmax(),
        "gbce": GeneralisedBinary(),
        "bucketed": BucketedSoftmax(),
    }
    if loss not in costs:
        raise UnknownNameError.of("loss", loss, costs)
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=4 * dim, norm=block, dropout=dropout)
    if block == "released":
        layer = replace(layer, ffn_dim=dim, act="relu", out_proj=False)
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        encoder=AttentionEncoder.Config(
            layer=layer,
            num_layers=num_layers,
            causal=True,
            position=TimeAwarePosition.Config(num_time_buckets=None),
            dropout=dropout,
            init_std=0.02,
        ),
        objective=NextItem.Config(cost=costs[loss]),
    )
