"""A convolution over neighbours and a recurrent layer behind it, for short rows. Liu et al., AAAI 2025, arXiv:2408.11451."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from hpgr.core.errors import ConfigError
from hpgr.nn.packed_order import packed_order
from hpgr.nn.shifted import shifted


class ShortBranch(nn.Module):
    """``GRU(Conv(x))``, states zero before each row, in the weights' type. The convolution looks ahead by half its width."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``width``: events that a convolution reads, an odd number."""

        width: int = 3

        def __post_init__(self) -> None:
            if self.width < 1 or not self.width % 2:
                raise ConfigError(f"width ({self.width}) must be a positive odd number")

        def build(self, *, dim: int) -> ShortBranch:
            return ShortBranch(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.reach = config.width // 2
        self.convolution = nn.Linear(config.width * dim, dim)
        self.recurrent = nn.GRU(dim, dim, bias=False)

    def forward(self, x_TD: Tensor, offsets: Tensor) -> Tensor:
        """``[T, D]``."""
        if not x_TD.shape[0]:
            return x_TD
        around = [shifted(x_TD, offsets, back) for back in range(self.reach, -self.reach - 1, -1)]
        mixed_TD = self.convolution(torch.cat(around, -1))
        event_P, _, sizes = packed_order(offsets.unique_consecutive(), x_TD.shape[0])
        with torch.autocast(x_TD.device.type, enabled=False):
            packed = PackedSequence(mixed_TD.to(self.recurrent.weight_hh_l0.dtype)[event_P], sizes)
            return self.recurrent(packed)[0].data[event_P.argsort()]
