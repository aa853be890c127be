"""CAPE. Yuan, Cai & Dong, WWW companion 2025, arXiv:2502.09027. Departs: see ``docs/models/cape.md``."""

from __future__ import annotations

from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.hstu_states import HstuStates
from hpgr.encoders.session import SessionTrunk
from hpgr.encoders.target import TargetEncoder
from hpgr.frames.ranking import FEATURES, RankingRecommender
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.head import Head
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.target_attention import TargetAttention
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.next_item import NextItem


@MODELS.register("cape")
def cape(
    *, dim: int = 64, num_heads: int = 2, num_layers: int = 2, dropout: float = 0.2, max_len: int = 200
) -> ScoringRecommender.Config:
    """SASRec whose places are found from the attention scores: how much unlike the query came since."""
    context = ContextualPosition.Config(num_positions=max_len)
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=4 * dim, dropout=dropout, context=context)
    encoder = AttentionEncoder.Config(layer=layer, num_layers=num_layers, dropout=dropout, init_std=0.02)
    items = IdEmbedding.Config(dim=dim, scale=True)
    return ScoringRecommender.Config(items=items, encoder=encoder, objective=NextItem.Config())


@MODELS.register("cape-hstu")
def cape_hstu(
    *, dim: int = 64, num_layers: int = 2, dropout: float = 0.2, max_len: int = 200
) -> ScoringRecommender.Config:
    """HSTU whose places are found from the attention scores, in the stead of its own."""
    context = ContextualPosition.Config(num_positions=max_len)
    layer = HstuLayer.Config(num_heads=2, normaliser=float(max_len), dropout=dropout, context=context, init_std=0.02)
    encoder = HstuStates.Config(layer=layer, num_layers=num_layers, dropout=dropout)
    items = IdEmbedding.Config(dim=dim, scale=True)
    return ScoringRecommender.Config(items=items, encoder=encoder, objective=NextItem.Config())


@MODELS.register("cape-din")
def cape_din(
    *, dim: int = 64, dropout: float = 0.1, max_len: int = 200, features: tuple[str, ...] = FEATURES
) -> RankingRecommender.Config:
    """DIN, which knows no order, with places found from its attention scores: the article's first backbone."""
    attention = TargetAttention.Config(context=ContextualPosition.Config(num_positions=max_len))
    return RankingRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        trunk=SessionTrunk.Config(position=None),
        encoder=TargetEncoder.Config(attention=attention),
        head=Head.Config(dropout=dropout),
        features=features,
    )
