"""gSASRec. Petrov & Macdonald, RecSys 2023, arXiv:2308.07192. Departs: the layers of our ``sasrec``; see ``docs/models/gsasrec.md``."""

from __future__ import annotations

from hpgr.encoders.attention import AttentionEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.sampled_costs import GeneralisedBinary


@MODELS.register("gsasrec")
def gsasrec(
    *,
    dim: int = 128,
    num_heads: int = 1,
    num_layers: int = 2,
    dropout: float = 0.5,
    num_negatives: int = 256,
    calibration: float = 0.75,
) -> ScoringRecommender.Config:
    """SASRec with many negatives, a calibrated positive and its own output table."""
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=4 * dim, dropout=dropout)
    position = TimeAwarePosition.Config(num_time_buckets=None)
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, output="separate", scale=True),
        encoder=AttentionEncoder.Config(
            layer=layer, num_layers=num_layers, position=position, dropout=dropout, init_std=0.02
        ),
        objective=NextItem.Config(cost=GeneralisedBinary(num_negatives=num_negatives, calibration=calibration)),
    )
