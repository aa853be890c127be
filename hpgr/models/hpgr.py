"""HPGR. Chen et al., WWW 2026, arXiv:2603.00980. Departs: the article's formulas are not known; ``docs/models/hpgr.md`` says what is ours."""

from __future__ import annotations

from dataclasses import replace

from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.hstu import HstuEncoder
from hpgr.encoders.session import SessionEnhancement, SessionTrunk
from hpgr.frames.ranking import FEATURES, RankingRecommender
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.head import Head
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.preference import PreferenceSelector
from hpgr.nn.relative_bias import RelativeBias
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.costs import FullSoftmax
from hpgr.objectives.masked_item import MaskedItem


@MODELS.register("hpgr-paper")
def hpgr_paper(
    *, dim: int = 64, num_heads: int = 2, num_layers: int = 2, dropout: float = 0.2, k: int = 16, sigma: float = 1.0
) -> TwoStageRecommender.Config:
    """The faithful preset: session enhancement in both stages, multiplicative preference-guided sparse attention."""
    # Read at a norm near 1, so that neither place nor session swamps an item at the start, and held small, so that they move soon.
    items = IdEmbedding.Config(dim=dim, scale=True)
    layer = TransformerLayer.Config(num_heads=num_heads, ffn_dim=2 * dim, dropout=dropout)
    sem = SessionEnhancement.Config(layer=layer)
    return TwoStageRecommender.Config(
        retriever=ScoringRecommender.Config(
            items=items,
            trunk=SessionTrunk.Config(sem=sem),
            encoder=AttentionEncoder.Config(
                layer=layer, num_layers=2, causal=False, bias=RelativeBias.Config(), init_std=0.02
            ),
            objective=MaskedItem.Config(mask_prob=0.3, cost=FullSoftmax(temperature=0.05)),
        ),
        ranker=RankingRecommender.Config(
            items=items,
            trunk=SessionTrunk.Config(sem=replace(sem, causal=True)),
            encoder=HstuEncoder.Config(
                layer=HstuLayer.Config(num_heads=num_heads, dropout=dropout, init_std=0.02),
                num_layers=num_layers,
                selection=PreferenceSelector.Config(k=k, sigma=sigma),
                gate="multiplicative",
            ),
            head=Head.Config(),
        ),
        inherit=("items=items", "trunk.sem=trunk.sem"),
    )


@MODELS.register("hpgr")
def hpgr(
    *, dim: int = 64, num_heads: int = 4, num_layers: int = 3, dropout: float = 0.2, k: int = 32, sigma: float = 1.0
) -> TwoStageRecommender.Config:
    """What measurement says is best: the first stage also tells its score, additive gate, library layer, candidate features.

    ``num_heads`` and ``num_layers`` are the ranker's; the session part stands in the first stage only.
    """
    config = hpgr_paper(dim=dim, dropout=dropout, k=k, sigma=sigma)
    ranker = replace(
        config.ranker,
        trunk=SessionTrunk.Config(
            position=TimeAwarePosition.Config(num_positions=8192, num_time_buckets=2048, spacing="sqrt")
        ),
        encoder=replace(
            config.ranker.encoder,
            layer=replace(
                HstuLayer.Config.library(num_heads=num_heads, normaliser=200.0, dropout=dropout), init_std=0.02
            ),
            num_layers=num_layers,
            gate="additive",
        ),
        features=FEATURES,
    )
    return replace(config, ranker=ranker, inherit=("items=items",), told=("score",))


@MODELS.register("hpgr-live")
def hpgr_live(
    *, dim: int = 64, num_heads: int = 2, num_layers: int = 2, dropout: float = 0.2, k: int = 16, sigma: float = 0.5
) -> TwoStageRecommender.Config:
    """For live events: an event's token never changes later, and candidates read only what they prefer."""
    config = hpgr_paper(dim=dim, num_heads=num_heads, num_layers=num_layers, dropout=dropout, k=k, sigma=sigma)
    place = TimeAwarePosition.Config(order="from_start", clock="previous")
    ranker = replace(
        config.ranker,
        trunk=SessionTrunk.Config(position=place),
        encoder=replace(config.ranker.encoder, bias=RelativeBias.Config()),
        features=FEATURES,
    )
    return replace(config, ranker=ranker, inherit=("items=items",))
