"""Contextual positions: how far back a key lies is how much unlike the query came since, read from attention's own scores.

Source: Yuan, Cai & Dong, WWW companion 2025, arXiv:2502.09027. Departs: the interaction by an MLP and the gate between
bias and score are not offered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.ops.contextual_bias import Counts, check_counts, contextual_bias


class ContextualPosition(nn.Module):
    """A ``ScoreBias``: ``silu(W q + b)`` held against a table of places, all zero at the start, at interpolated places."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``num_positions``: rows of the table; what is farther shares the last one. ``dim``: their width. ``counts``:
        a key counts by how unlike the query it is, or, as in CoPE, by how like. ``bilinear``: a matrix stands between
        query and place, the identity at the start."""

        num_positions: int = 100
        dim: int = 16
        counts: Counts = "dissimilar"
        bilinear: bool = False

        def __post_init__(self) -> None:
            for name in ("num_positions", "dim"):
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
            check_counts(self.counts)

        def build(self, *, head_dim: int) -> ContextualPosition:
            return ContextualPosition(self, head_dim)

    def __init__(self, config: Config, head_dim: int) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(head_dim, config.dim)
        self.mix_DD = nn.Parameter(torch.eye(config.dim)) if config.bilinear else None
        self.place_PD = nn.Parameter(torch.zeros(config.num_positions, config.dim))

    def added(self, q_QK: Tensor, scores_QJ: Tensor, visible_QJ: Tensor) -> Tensor:
        """``[..., Q, J]`` from the queries ``[..., Q, K]`` of one head each, and their scores of keys, oldest first."""
        asked_QD = F.silu(self.query(q_QK))
        if self.mix_DD is not None:
            asked_QD = asked_QD @ self.mix_DD
        return contextual_bias(asked_QD @ self.place_PD.T, scores_QJ, visible_QJ, counts=self.config.counts)
