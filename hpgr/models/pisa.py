"""PISA. Tran et al., RecSys 2024, arXiv:2408.16578. Departs: see ``docs/models/pisa.md``."""

from __future__ import annotations

from typing import Literal

from hpgr.core.errors import UnknownNameError
from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.session_tokens import SessionTokens
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.relative_bias import RelativeBias
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.costs import FullSoftmax, ItemCost
from hpgr.objectives.long_term import LongTermMemory
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.ranking_costs import Bpr


@MODELS.register("pisa")
def pisa(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 2,
    dropout: float = 0.2,
    num_remembered: int = 20,
    memory: float = 0.5,
    loss: Literal["softmax", "bpr"] = "softmax",
) -> ScoringRecommender.Config:
    """Sessions weighed by how active their songs are in memory (ACT-R), a causal Transformer over them, a long-term memory.

    ``memory``: weight of the ``num_remembered`` most active songs in the score.
    """
    costs: dict[str, ItemCost] = {
        "softmax": FullSoftmax(temperature=0.1),
        "bpr": Bpr(num_negatives=10, alpha=0.5, in_batch=False, shared="prediction"),
    }
    if loss not in costs:
        raise UnknownNameError.of("loss", loss, costs)
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=4 * dim, dropout=dropout)
    sessions = AttentionEncoder.Config(
        layer=layer, num_layers=num_layers, bias=RelativeBias.Config(num_positions=64), dropout=dropout
    )
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        encoder=SessionTokens.Config(encoder=sessions),
        objective=NextItem.Config(cost=costs[loss]),
        adapter=LongTermMemory.Config(num_items=num_remembered, weight=memory),
    )
