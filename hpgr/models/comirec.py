"""ComiRec. Cen et al., KDD 2020, arXiv:2005.09347. Departs: see ``docs/models/comirec.md``."""

from __future__ import annotations

from typing import Any

from hpgr.encoders.item_vectors import ItemVectors
from hpgr.frames.registry import MODELS
from hpgr.frames.scoring import ScoringRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.attended_interests import AttendedInterests
from hpgr.nn.routed_interests import RoutedInterests
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.sampled_costs import SampledSoftmax


@MODELS.register("comirec")
def comirec(
    *, dim: int = 64, num_interests: int = 4, num_positions: int = 200, num_negatives: int = 1280
) -> ScoringRecommender.Config:
    """Several vectors a user, each an attention of its own over the items of the history (ComiRec-SA)."""
    return _over_items(
        dim, AttendedInterests.Config(num_interests=num_interests, num_positions=num_positions), num_negatives
    )


@MODELS.register("comirec-dr")
def comirec_dr(
    *, dim: int = 64, num_interests: int = 4, num_positions: int = 50, num_negatives: int = 1280
) -> ScoringRecommender.Config:
    """The same by dynamic routing: events vote for interests, and go where their votes agree (ComiRec-DR)."""
    return _over_items(
        dim, RoutedInterests.Config(num_interests=num_interests, num_positions=num_positions), num_negatives
    )


def _over_items(dim: int, interests: Any, num_negatives: int) -> ScoringRecommender.Config:
    return ScoringRecommender.Config(
        items=IdEmbedding.Config(dim=dim),
        encoder=ItemVectors.Config(),
        interests=interests,
        objective=NextItem.Config(cost=SampledSoftmax(num_negatives=num_negatives, alpha=1.0, log_q=True)),
    )
