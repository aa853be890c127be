"""SIGMA. Liu et al., AAAI 2025, arXiv:2408.11451. Departs: see ``docs/models/sigma.md``."""

from __future__ import annotations

from hpgr.encoders.sigma import SigmaEncoder
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.partial_flip import PartialFlip
from hpgr.nn.selective_layer import SelectiveLayer
from hpgr.objectives.last_item import LastItem
from hpgr.objectives.next_item import NextItem


@MODELS.register("sigma")
def sigma(
    *,
    dim: int = 64,
    num_layers: int = 1,
    state_dim: int = 32,
    dropout: float = 0.2,
    keep: int = 5,
    num_prefixes: int | None = 2,
) -> ScoringRecommender.Config:
    """A selective state space read forwards and, but for the newest events, backwards; gates and a Conv+GRU branch.

    ``keep``: newest events that the flip leaves where they are. ``num_prefixes``: beginnings of a window that a step predicts from.
    """
    encoder = SigmaEncoder.Config(
        layer=SelectiveLayer.Config(state_dim=state_dim),
        num_layers=num_layers,
        flip=PartialFlip(keep=keep),
        dropout=dropout,
    )
    objective = LastItem.Config(num_prefixes=num_prefixes)
    return ScoringRecommender.Config(items=IdEmbedding.Config(dim=dim), encoder=encoder, objective=objective)


@MODELS.register("sigma-forward")
def sigma_forward(
    *, dim: int = 64, num_layers: int = 1, state_dim: int = 32, dropout: float = 0.2
) -> ScoringRecommender.Config:
    """The forward stream alone (Mamba4Rec), which is causal and so predicts the next item at every event."""
    encoder = SigmaEncoder.Config(
        layer=SelectiveLayer.Config(state_dim=state_dim),
        num_layers=num_layers,
        flip=None,
        gate=None,
        short=None,
        dropout=dropout,
    )
    return ScoringRecommender.Config(items=IdEmbedding.Config(dim=dim), encoder=encoder, objective=NextItem.Config())
