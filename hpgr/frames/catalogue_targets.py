"""The output side of a catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hpgr.frames.prior import PopularityPrior
from hpgr.items import Items


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogueTargets:
    """What an objective holds states against: the output side of ``items``, and what training counted."""

    items: Items
    prior: PopularityPrior

    @property
    def num_items(self) -> int:
        return self.items.num_items

    @property
    def log_share_V(self) -> Tensor:
        return self.prior.log_share_V

    @property
    def sparse(self) -> bool:
        return self.items.sparse

    def table(self) -> Tensor:
        return self.items.table()

    def bias(self) -> Tensor | None:
        return self.items.bias()

    def rows(self, item_idx: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.items.rows(item_idx)
