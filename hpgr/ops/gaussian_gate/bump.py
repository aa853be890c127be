"""The form of the Gaussian round a centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bump:
    """See ``gaussian_gate``; ``reach``: places from a centre beyond which every gate is below the floor."""

    sigma: float | Tensor
    floor: float
    aggregate: Literal["sum", "max"]
    reach: float
    session_T: Tensor | None

    def height(self, distance: Tensor) -> Tensor:
        """``exp(-distance^2 / (2 sigma^2))``; for a sigma of 0 it is 1 at distance 0 and 0 elsewhere."""
        sigma = torch.as_tensor(self.sigma, dtype=distance.dtype, device=distance.device).clamp(min=1e-3)
        return torch.exp(-0.5 * (distance / sigma).square())

    def joined(self, height: Tensor, dim: int) -> Tensor:
        """The gate from the weighted heights of all centres."""
        return height.sum(dim).clamp(max=1.0) if self.aggregate == "sum" else height.amax(dim)
