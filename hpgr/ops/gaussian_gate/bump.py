"""The form of the Gaussian round a centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Bump:
    """See ``gaussian_gate``; ``reach``: places from a centre beyond which every gate is below the floor; ``num_rows``:
    rows of all users, where the caller knows."""

    sigma: float | Tensor
    floor: float
    aggregate: Literal["sum", "max"]
    reach: float
    session_T: Tensor | None
    num_rows: int | None = None

    def height(self, distance: Tensor) -> Tensor:
        """``exp(-distance^2 / (2 sigma^2))``; for a sigma of 0 it is 1 at distance 0 and nothing elsewhere."""
        sigma = torch.as_tensor(self.sigma, dtype=distance.dtype, device=distance.device).clamp(min=1e-3)
        # Below e^-80 lie numbers on which exp is several times slower, and no floor.
        return (distance.square() * (-0.5 / sigma.square())).clamp(min=-80.0).exp()
