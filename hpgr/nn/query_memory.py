"""A user's query in the light of those that were asked before. Li et al., AAAI 2024 (Ada-Retrieval, user adapter)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError


class QueryMemory(nn.Module):
    """``LN(u + W_2 relu(W_1 [u; g]))`` with ``g`` the last state of a GRU over the earlier queries."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``dropout`` acts on what is added."""

        dropout: float = 0.2
        eps: float = 1e-12

        def __post_init__(self) -> None:
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")

        def build(self, *, dim: int) -> QueryMemory:
            return QueryMemory(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.gru = nn.GRU(dim, dim, batch_first=True)
        self.inner, self.outer = nn.Linear(2 * dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.norm, self.dropout = nn.LayerNorm(dim, eps=config.eps), nn.Dropout(config.dropout)

    def forward(self, query_BD: Tensor, earlier: list[Tensor]) -> Tensor:
        """``[B, D]``; ``earlier``: queries of at least one round, in their order."""
        with torch.autocast(query_BD.device.type, enabled=False):
            query_BD, *asked = (one_BD.to(self.inner.weight.dtype) for one_BD in (query_BD, *earlier))
            memory_BD = self.gru(torch.stack(asked, 1))[1][0]
            added_BD = self.outer(torch.relu(self.inner(torch.cat([query_BD, memory_BD], 1))))
            return self.norm(query_BD + self.dropout(added_BD))
