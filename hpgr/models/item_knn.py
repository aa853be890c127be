"""Item neighbours. Sarwar et al., WWW 2001. Departs: binary cosine with shrinkage, only the newest events are asked."""

from __future__ import annotations

from hpgr.frames.counting import CountingRecommender
from hpgr.frames.registry import MODELS
from hpgr.objectives.baskets import Basket
from hpgr.objectives.neighbours import CosineNeighbours


@MODELS.register("item_knn")
def item_knn(
    *, num_neighbours: int = 100, shrinkage: float = 10.0, basket: Basket = "user", reach: int = 20, decay: float = 0.9
) -> CountingRecommender.Config:
    """Items that the same people have as the user's newest items."""
    rule = CosineNeighbours(num_neighbours=num_neighbours, shrinkage=shrinkage, basket=basket, reach=reach, decay=decay)
    return CountingRecommender.Config(rule=rule)
