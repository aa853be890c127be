"""MQSA-TED. Zhu et al., WSDM 2024, arXiv:2311.01056. Departs: see ``docs/models/mqsa-ted.md``."""

from __future__ import annotations

from dataclasses import replace

from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.mixed import MixedEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.nn.window_mean import WindowMean
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.transition_distillation import TransitionDistillation


@MODELS.register("mqsa_ted")
def mqsa_ted(
    *,
    dim: int = 64,
    num_heads: int = 1,
    num_layers: int = 1,
    dropout: float = 0.2,
    window: int = 3,
    share: float = 0.5,
    distil: float = 0.1,
    tau: float = 0.1,
) -> ScoringRecommender.Config:
    """Two causal Transformers, one asks with single events and one with the mean of the last few; item vectors learn transitions.

    ``share``: of the first in the answer. ``distil``, ``tau``: weight and temperature of what is learnt from counted transitions.
    """
    layer = TransformerLayer.Config(
        num_heads=num_heads, ffn_dim=dim, norm="released", act="relu", out_proj=False, dropout=dropout
    )
    short = AttentionEncoder.Config(layer=layer, num_layers=num_layers, dropout=dropout)
    long = replace(short, layer=replace(layer, query_source=WindowMean(length=window)))
    place = TimeAwarePosition.Config(num_time_buckets=None)
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        encoder=MixedEncoder.Config(first=short, second=long, share=share, position=place),
        objective=NextItem.Config(),
        auxiliary=TransitionDistillation.Config(weight=distil, temperature=tau, dropout=dropout),
    )
