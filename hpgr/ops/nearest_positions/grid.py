"""Directions on a grid so coarse that single precision multiplies them without rounding."""

from __future__ import annotations

import torch
from torch import Tensor

LENGTH = 4032.0
"""Steps of the grid in a unit vector. No sum of products exceeds the square of the length, which with what rounding adds
(half the root of the width, up to 16,384 columns) is at most 2^24: an integer that single precision holds exactly."""
# Doubles this large are whole numbers: adding and taking away rounds, several times faster than a call of round.
_WHOLE = 1.5 * 2**52


def on_grid(x_TD: Tensor) -> Tensor:
    """``[T, D]`` float32 integers: each vector's direction, ``LENGTH`` long, rounded; zeros for a vector of zeros."""
    exact_TD = x_TD.detach().double()
    longer_T1 = LENGTH / torch.linalg.vector_norm(exact_TD, dim=-1, keepdim=True).clamp(min=1e-12)
    return (exact_TD * longer_T1).add_(_WHOLE).sub_(_WHOLE).to(torch.float32)
