"""ReaRec. Tang et al., 2025, arXiv:2503.22675. Departs: see ``docs/models/rearec.md``."""

from __future__ import annotations

from typing import Any

from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.reasoning import Reasoning
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.reasoning_costs import Ensemble, Progressive


@MODELS.register("rearec")
def rearec(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 2,
    dropout: float = 0.2,
    steps: int = 2,
    tau: float = 1.0,
    alpha: float = 2.0,
    noise: float = 0.01,
) -> ScoringRecommender.Config:
    """A causal Transformer that thinks on for some steps, each sharper than the one before (PRL)."""
    cost = Progressive(tau=tau, alpha=alpha)
    return _reasoning(cost, (dim, num_heads, num_layers), dropout, steps, noise=noise)


@MODELS.register("rearec-ensemble")
def rearec_ensemble(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 2,
    dropout: float = 0.2,
    steps: int = 2,
    tau: float = 1.0,
    diversity: float = 0.05,
) -> ScoringRecommender.Config:
    """The same with the mean of the steps as answer, which are kept apart (ERL)."""
    return _reasoning(Ensemble(tau=tau, diversity=diversity), (dim, num_heads, num_layers), dropout, steps)


def _reasoning(
    cost: Any, shape: tuple[int, int, int], dropout: float, steps: int, **options: Any
) -> ScoringRecommender.Config:
    dim, num_heads, num_layers = shape
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=4 * dim, norm="post", dropout=dropout)
    place = TimeAwarePosition.Config(num_time_buckets=None)
    encoder = AttentionEncoder.Config(
        layer=layer, num_layers=num_layers, position=place, dropout=dropout, input_norm=True, final_norm=False
    )
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim),
        encoder=Reasoning.Config(encoder=encoder, steps=steps, **options),
        objective=NextItem.Config(cost=cost),
    )
