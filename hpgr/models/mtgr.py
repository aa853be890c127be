"""MTGR. Han et al., CIKM 2025, arXiv:2505.18654. Departs: see ``docs/models/mtgr.md``."""

from __future__ import annotations

from hpgr.encoders.mtgr import MtgrEncoder
from hpgr.encoders.mtgr_tokens import MtgrTrunk
from hpgr.frames.ranking import FEATURES, RankingRecommender
from hpgr.frames.registry import MODELS
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.feed_forward import FeedForward
from hpgr.nn.head import Head
from hpgr.nn.mtgr_layer import MtgrLayer


@MODELS.register("mtgr")
def mtgr(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 3,
    dropout: float = 0.1,
    window_s: float = 86_400.0,
    features: tuple[str, ...] = FEATURES,
) -> RankingRecommender.Config:
    """Candidates with their cross features read request, long-term and real-time tokens, each under its domain's norm."""
    mlp = FeedForward.Config(hidden_dim=2 * dim, dropout=dropout)
    layer = MtgrLayer.Config(mlp=mlp, num_heads=num_heads, dropout=dropout)
    return RankingRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        trunk=MtgrTrunk.Config(mlp=mlp),
        encoder=MtgrEncoder.Config(layer=layer, num_layers=num_layers, window_s=window_s),
        head=Head.Config(),
        features=features,
    )
