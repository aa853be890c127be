"""ICSRec. Qin et al., WSDM 2024, arXiv:2310.14318. Departs: see ``docs/models/icsrec.md``."""

from __future__ import annotations

from typing import Literal

from hpgr.encoders.attention import AttentionEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.prototypes import PrototypeBank
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.intent_contrast import IntentContrast
from hpgr.objectives.next_item import NextItem


@MODELS.register("icsrec")
def icsrec(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 2,
    dropout: float = 0.2,
    coarse: float = 0.3,
    fine: float = 0.1,
    num_prototypes: int = 64,
    predict: Literal["every", "last"] = "every",
) -> ScoringRecommender.Config:
    """A causal Transformer whose states before the same item, and around the same prototype, are made alike.

    ``predict``: ``last`` with ``windows.sampling=prefixes`` is the article's training, ``every`` a pass over each window.
    """
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=4 * dim, norm="post", dropout=dropout)
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim),
        encoder=AttentionEncoder.Config(
            layer=layer,
            num_layers=num_layers,
            causal=True,
            position=TimeAwarePosition.Config(num_time_buckets=None),
            dropout=dropout,
            input_norm=True,
            final_norm=False,
            init_std=0.02,
        ),
        objective=NextItem.Config(predict=predict),
        auxiliary=IntentContrast.Config(
            coarse=coarse, fine=fine, bank=PrototypeBank.Config(num_prototypes=num_prototypes)
        ),
    )
