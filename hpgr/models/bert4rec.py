"""BERT4Rec. Sun et al., CIKM 2019, arXiv:1904.06690. Departs: see ``docs/models/bert4rec.md``."""

from __future__ import annotations

from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.transformed import TransformedEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.costs import FullSoftmax
from hpgr.objectives.masked_item import MaskedItem


@MODELS.register("bert4rec")
def bert4rec(
    *,
    dim: int = 64,
    num_heads: int = 2,
    num_layers: int = 2,
    dropout: float = 0.1,
    max_len: int = 200,
    mask_prob: float = 0.2,
    max_predictions: int | None = 40,
    force_last_prob: float = 0.1,
) -> ScoringRecommender.Config:
    """A bidirectional Transformer that fills in hidden items; ``max_len`` is that of the training windows."""
    layer = TransformerLayer.Config(
        num_heads=num_heads, ffn_dim=4 * dim, norm="post", residual_dropout=dropout, eps=1e-12
    )
    encoder = AttentionEncoder.Config(
        layer=layer,
        num_layers=num_layers,
        causal=False,
        position=TimeAwarePosition.Config(num_positions=max_len, num_time_buckets=None),
        dropout=dropout,
        input_norm=True,
        final_norm=False,
    )
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, std=dim**-0.5, output_bias=True),
        encoder=TransformedEncoder.Config(encoder=encoder, eps=1e-12),
        objective=MaskedItem.Config(
            mask_prob=mask_prob,
            session_mask_prob=0.0,
            last_prob=0.0,
            exact_count=True,
            max_predictions=max_predictions,
            force_last_prob=force_last_prob,
            max_len=max_len,
            cost=FullSoftmax(),
        ),
    )
