"""Rotary positions: queries and keys are turned by their place, so that a score knows only how far apart they stand.

Su et al., 2021, arXiv:2104.09864, section 3.2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotary:
    """Columns ``2i`` and ``2i + 1`` of a head turn together by ``place * base ** (-2i / K)``; it learns nothing."""

    base: float = 10_000.0

    def __post_init__(self) -> None:
        if not self.base > 1:
            raise ConfigError(f"base ({self.base}) must be greater than 1")

    def check(self, head_dim: int) -> None:
        """Raises: ConfigError unless columns come in pairs."""
        if head_dim % 2:
            raise ConfigError(
                f"head width ({head_dim}) must be even with rotary positions; choose dim and num_heads so"
            )

    def turned(self, x_THK: Tensor, place_T: Tensor) -> Tensor:
        """``x_THK`` with each row turned by its place ``[T]`` int64."""
        exact = torch.promote_types(torch.float32, x_THK.dtype)
        column = torch.arange(0, x_THK.shape[-1], 2, dtype=exact, device=x_THK.device)
        angle_TK = place_T[:, None].to(exact) * self.base ** (-column / x_THK.shape[-1])
        cos, sin = angle_TK.cos()[:, None], angle_TK.sin()[:, None]
        even, odd = x_THK.unflatten(-1, (-1, 2)).to(exact).unbind(-1)
        turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1)
        return turned.flatten(-2).to(x_THK.dtype)
