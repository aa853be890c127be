"""HSTU. Zhai et al., ICML 2024, arXiv:2402.17152: the layer of the public retrieval experiments, and that of ranking.

Departs: see ``docs/models/hstu.md``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from hpgr.core.errors import ConfigError
from hpgr.encoders.hstu import HstuEncoder
from hpgr.encoders.hstu_states import HstuStates
from hpgr.encoders.session import SessionTrunk
from hpgr.frames.ranking import FEATURES, RankingRecommender
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.head import Head
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.relative_bias import RelativeBias
from hpgr.objectives.costs import FullSoftmax
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.sampled_costs import SampledSoftmax

_BEYOND = 11  # The public experiments divide by the longest history, ten outputs and one.


@MODELS.register("hstu")
def hstu(
    *,
    dim: int = 64,
    num_heads: int = 1,
    num_layers: int = 2,
    dropout: float = 0.2,
    max_len: int = 200,
    bias: Literal["both", "time", "position"] | None = "both",
    negatives: int | None = 128,
) -> ScoringRecommender.Config:
    """Retrieval by the research layer: pointwise attention, relative place and time bias, cosine softmax at 0.05.

    ``bias``: which terms it has. ``negatives``: items sampled for each prediction, None for the whole catalogue.
    """
    if bias not in ("both", "time", "position", None):
        raise ConfigError(f"bias ({bias}) must be both, time, position or None")
    layer = HstuLayer.Config.research(num_heads=num_heads, normaliser=float(max_len + _BEYOND), dropout=dropout)
    # Training tells a window without its last event; a request's place beyond that shares the last one that was trained.
    places = max_len - 1
    terms = RelativeBias.Config(num_positions=None if bias == "time" else places, time=bias != "position")
    cost = SampledSoftmax(num_negatives=negatives, shared="prediction", temperature=0.05) if negatives else None
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        encoder=HstuStates.Config(
            layer=layer,
            num_layers=num_layers,
            position=TimeAwarePosition.Config(
                num_positions=places, num_time_buckets=None, order="from_start", std=dim**-0.5
            ),
            bias=terms if bias else None,
            dropout=dropout,
        ),
        objective=NextItem.Config(cost=cost or FullSoftmax(temperature=0.05)),
    )


@MODELS.register("hstu-large")
def hstu_large(*, dim: int = 64, dropout: float = 0.2, max_len: int = 200) -> ScoringRecommender.Config:
    """The same, eight layers of two heads."""
    return hstu(dim=dim, num_heads=2, num_layers=8, dropout=dropout, max_len=max_len)


@MODELS.register("hstu-ranker")
def hstu_ranker(
    *,
    dim: int = 64,
    num_heads: int = 4,
    num_layers: int = 3,
    dropout: float = 0.2,
    max_len: int = 200,
    features: tuple[str, ...] = FEATURES,
) -> RankingRecommender.Config:
    """Ranking by the library ("STU") layer: places from the end, roots of ages, candidates scored together against one memory."""
    layer = HstuLayer.Config.library(num_heads=num_heads, normaliser=float(max_len), dropout=dropout)
    layer = replace(layer, init_std=0.02)
    place = TimeAwarePosition.Config(num_positions=8192, num_time_buckets=2048, spacing="sqrt")
    return RankingRecommender.Config(
        items=IdEmbedding.Config(dim=dim, scale=True),
        trunk=SessionTrunk.Config(position=place),
        encoder=HstuEncoder.Config(layer=layer, num_layers=num_layers),
        head=Head.Config(),
        features=features,
    )
