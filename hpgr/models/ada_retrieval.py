"""Ada-Retrieval. Li et al., AAAI 2024. Departs: see ``docs/models/ada-retrieval.md``."""

from __future__ import annotations

from hpgr.encoders.attention import AttentionEncoder
from hpgr.frames.multi_round import MultiRoundRecommender
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.query_memory import QueryMemory
from hpgr.nn.retrieved_context import RetrievedContext
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.next_item import NextItem


@MODELS.register("ada_retrieval")
def ada_retrieval(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 2,
    dropout: float = 0.2,
    rounds: int = 5,
    per_round: int = 20,
    decay: float = 0.3,
) -> MultiRoundRecommender.Config:
    """A causal Transformer asked in rounds of ``per_round`` items, each of which knows what the ones before have found.

    ``decay``: how much less a round's cost weighs than that of the one before.
    """
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=4 * dim, dropout=dropout)
    place = TimeAwarePosition.Config(num_time_buckets=None)
    return MultiRoundRecommender.Config(
        base=ScoringRecommender.Config(
            items=IdEmbedding.Config(dim=dim, scale=True),
            encoder=AttentionEncoder.Config(
                layer=layer, num_layers=num_layers, position=place, dropout=dropout, init_std=0.02
            ),
            objective=NextItem.Config(),
        ),
        item_adapter=RetrievedContext.Config(dropout=dropout),
        user_adapter=QueryMemory.Config(dropout=dropout),
        rounds=rounds,
        per_round=per_round,
        decay=decay,
    )
