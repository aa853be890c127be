"""DIN. Zhou et al., KDD 2018, arXiv:1706.06978. Departs: see ``docs/models/din.md``."""

from __future__ import annotations

from hpgr.encoders.session import SessionTrunk
from hpgr.encoders.target import TargetEncoder
from hpgr.frames.ranking import FEATURES, RankingRecommender
from hpgr.frames.registry import MODELS
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.head import Head
from hpgr.nn.target_attention import TargetAttention


@MODELS.register("din")
def din(
    *, dim: int = 64, hidden_dim: int = 32, dropout: float = 0.1, features: tuple[str, ...] = FEATURES
) -> RankingRecommender.Config:
    """Each candidate weighs the events of the history by a small network and reads their sum; no order, no places."""
    return RankingRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        trunk=SessionTrunk.Config(position=None),
        encoder=TargetEncoder.Config(attention=TargetAttention.Config(hidden_dim=hidden_dim)),
        head=Head.Config(dropout=dropout),
        features=features,
    )
