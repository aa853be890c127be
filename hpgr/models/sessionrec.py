"""SessionRec. Huang et al., 2025, arXiv:2502.10157. Departs: its settings are not known; see ``docs/models/sessionrec.md``."""

from __future__ import annotations

from typing import Any

from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.by_session import BySession
from hpgr.encoders.hstu_states import HstuStates
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.relative_bias import RelativeBias
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.exposed_ranking import ExposedRanking
from hpgr.objectives.next_session import NextSession


@MODELS.register("sessionrec")
def sessionrec(
    *, dim: int = 64, num_heads: int = 2, num_layers: int = 2, dropout: float = 0.2, alpha: float = 0.01
) -> ScoringRecommender.Config:
    """A causal Transformer over sessions, each the mean of its items, that predicts all items of the next session.

    ``alpha``: weight of ranking what was chosen above what was shown and not chosen.
    """
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=4 * dim, dropout=dropout)
    place = TimeAwarePosition.Config(num_time_buckets=None)
    encoder = AttentionEncoder.Config(
        layer=layer, num_layers=num_layers, position=place, dropout=dropout, init_std=0.02
    )
    return _by_session(encoder, dim, alpha)


@MODELS.register("sessionrec-hstu")
def sessionrec_hstu(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 2,
    dropout: float = 0.2,
    alpha: float = 0.01,
    max_sessions: int = 100,
) -> ScoringRecommender.Config:
    """The same with HSTU over sessions, and the time between them; ``max_sessions``: by which sums over them are divided."""
    layer = HstuLayer.Config.research(num_heads=num_heads, normaliser=float(max_sessions), dropout=dropout)
    bias = RelativeBias.Config(num_positions=max_sessions)
    return _by_session(HstuStates.Config(layer=layer, num_layers=num_layers, bias=bias, dropout=dropout), dim, alpha)


def _by_session(encoder: Any, dim: int, alpha: float) -> ScoringRecommender.Config:
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        encoder=BySession.Config(encoder=encoder),
        objective=NextSession.Config(),
        auxiliary=ExposedRanking.Config(alpha=alpha),
    )
