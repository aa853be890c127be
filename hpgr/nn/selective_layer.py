"""A selective state-space layer: a short convolution, a recurrence that chooses what to keep, and a gate.

Gu & Dao, 2023, arXiv:2312.00752 (Mamba); over jagged rows, without its CUDA package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.nn.shifted import shifted
from hpgr.ops.selective_scan import selective_scan, selective_step

State = tuple[Tensor, Tensor]


class SelectiveLayer(nn.Module):
    """``(T, D)`` to ``(T, D)``; an event knows itself and what came before it in its row."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``state_dim``: numbers of state a channel; ``expand`` times the width are the channels; ``conv_width``: events that
        the convolution reads, itself among them."""

        state_dim: int = 32
        expand: int = 2
        conv_width: int = 4

        def __post_init__(self) -> None:
            for name in ("state_dim", "expand", "conv_width"):
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")

        def build(self, *, dim: int) -> SelectiveLayer:
            return SelectiveLayer(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        channels, rank = config.expand * dim, math.ceil(dim / 16)
        self._parts = [rank, config.state_dim, config.state_dim]
        self.in_proj = nn.Linear(dim, 2 * channels, bias=False)
        bound = config.conv_width**-0.5
        self.conv_WE = nn.Parameter(torch.empty(config.conv_width, channels).uniform_(-bound, bound))
        self.conv_E = nn.Parameter(torch.zeros(channels))
        self.choose = nn.Linear(channels, sum(self._parts), bias=False)
        self.step_size = nn.Linear(rank, channels, bias=False)
        nn.init.uniform_(self.step_size.weight, -(rank**-0.5), rank**-0.5)
        # softplus of the shift lies between a thousandth and a tenth, evenly by its logarithm.
        first_E = torch.exp(torch.rand(channels) * math.log(100.0) + math.log(0.001))
        self.step_shift_E = nn.Parameter(first_E + torch.log(-torch.expm1(-first_E)))
        self.log_fading_EN = nn.Parameter(torch.arange(1.0, config.state_dim + 1).log().repeat(channels, 1))
        self.skip_E = nn.Parameter(torch.ones(channels))
        self.out_proj = nn.Linear(channels, dim, bias=False)

    def forward(self, x_TD: Tensor, offsets: Tensor) -> Tensor:
        """``[T, D]``."""
        u_TE, gate_TE = self.in_proj(x_TD).chunk(2, -1)
        width = self.config.conv_width
        mixed_TE = sum((shifted(u_TE, offsets, width - 1 - w) * self.conv_WE[w] for w in range(width)), self.conv_E)
        u_TE = F.silu(mixed_TE)
        delta_TE, b_TN, c_TN = self._chosen(u_TE)
        y_TE = selective_scan(u_TE, delta_TE.to(u_TE.dtype), self._fading(), b_TN, c_TN, offsets)
        return self.out_proj((y_TE + self.skip_E * u_TE) * F.silu(gate_TE))

    def initial(self, num_rows: int) -> State:
        """The state before any event: what the convolution saw ``[B, W - 1, E]``, and the recurrence's ``[B, E, N]``."""
        channels = self.skip_E.shape[0]
        seen = self.skip_E.new_zeros((num_rows, self.config.conv_width - 1, channels))
        return seen, self.skip_E.new_zeros((num_rows, channels, self.config.state_dim))

    def step(self, state: State, x_BD: Tensor) -> tuple[State, Tensor]:
        """The state after one event more of each row, and what ``forward`` gives for that event."""
        seen_BWE, state_BEN = state
        u_BE, gate_BE = self.in_proj(x_BD).chunk(2, -1)
        window_BWE = torch.cat([seen_BWE, u_BE[:, None]], 1)
        u_BE = F.silu((window_BWE * self.conv_WE).sum(1) + self.conv_E)
        delta_BE, b_BN, c_BN = self._chosen(u_BE)
        state_BEN, y_BE = selective_step(state_BEN, (u_BE, delta_BE), self._fading(), (b_BN, c_BN))
        return (window_BWE[:, 1:], state_BEN), self.out_proj((y_BE + self.skip_E * u_BE) * F.silu(gate_BE))

    def _chosen(self, u_TE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low_TR, b_TN, c_TN = self.choose(u_TE).split(self._parts, -1)
        return F.softplus(self.step_size(low_TR) + self.step_shift_E), b_TN, c_TN

    def _fading(self) -> Tensor:
        return -self.log_fading_EN.exp()
