"""An item is a learned vector, by its id."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError


class IdEmbedding(nn.Module):
    """A table of ``V + 1`` rows; the last is the item outside the catalogue.

    While training, a small share of the items read is replaced by the outside row, so that it is a trained vector when
    the first unknown item arrives.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``unknown_prob``: share of read items replaced by the outside row while training, in [0, 1).
        ``std``: of the initial normal weights."""

        dim: int = 64
        unknown_prob: float = 0.01
        std: float = 0.02

        def __post_init__(self) -> None:
            if self.dim < 1:
                raise ConfigError(f"dim ({self.dim}) must be at least 1")
            if not 0 <= self.unknown_prob < 1:
                raise ConfigError(f"unknown_prob ({self.unknown_prob}) must lie in [0, 1)")

        def build(self, *, num_items: int) -> IdEmbedding:
            return IdEmbedding(self, num_items)

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        if num_items < 1:
            raise ConfigError(f"num_items ({num_items}) must be at least 1")
        self.config = config
        self.num_items = num_items
        self.dim = config.dim
        self.weight = nn.Parameter(torch.randn(num_items + 1, config.dim) * config.std)

    def forward(self, item_idx: Tensor) -> Tensor:
        """``[...]`` int64 in ``0 … V`` to ``[..., D]``."""
        if self.training and self.config.unknown_prob:
            lost = torch.rand(item_idx.shape, device=item_idx.device) < self.config.unknown_prob
            item_idx = item_idx.masked_fill(lost, self.num_items)
        return nn.functional.embedding(item_idx, self.weight)

    def table(self) -> Tensor:
        """``[V, D]``: the catalogue's vectors."""
        return self.weight[: self.num_items]
