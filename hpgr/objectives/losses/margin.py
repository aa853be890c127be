"""Margin ranking: a positive is to be nearer than a negative by a margin. Bordes et al., NIPS 2013 (translating embeddings)."""

from __future__ import annotations

import torch
from torch import Tensor

# The root has no gradient at 0.
_LEAST = 1e-12


def margin_costs(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """``max(0, margin + positive - negative)`` of distances whose shapes broadcast."""
    return (margin + positive - negative).clamp(min=0)


def distances(x_AD: Tensor, y_AD: Tensor) -> Tensor:
    """``[...]``: ``‖x - y‖₂`` along the last dimension."""
    return ((x_AD - y_AD).square().sum(-1) + _LEAST).sqrt()


def distances_to(x_AD: Tensor, table_MD: Tensor) -> Tensor:
    """``[..., M]``: the distance of each ``x`` to each row of a table, without a difference for every pair."""
    with torch.autocast(x_AD.device.type, enabled=False):
        x_AD, table_MD = x_AD.float(), table_MD.float()
        squared = x_AD.square().sum(-1, keepdim=True) - 2 * x_AD @ table_MD.T + table_MD.square().sum(-1)
        return (squared.clamp(min=0) + _LEAST).sqrt()
