"""Directions on a grid so coarse that single precision multiplies them without rounding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LENGTH = 4032.0
"""Steps of the grid in a unit vector. No sum of products exceeds the square of the length, which with what rounding adds
(half the root of the width, up to 16,384 columns) is at most 2^24: an integer that single precision holds exactly."""
# Doubles this large are whole numbers: adding and taking away rounds, several times faster than a call of round.
_WHOLE = 1.5 * 2**52


def on_grid(x_TD: Tensor) -> Tensor:
    """``[T, D]`` float32 integers: each vector's direction, ``LENGTH`` long, rounded; zeros for a vector of zeros."""
    steps_TD = F.normalize(x_TD.double(), dim=-1, eps=1e-12) * LENGTH
    return ((steps_TD + _WHOLE) - _WHOLE).to(torch.float32)
