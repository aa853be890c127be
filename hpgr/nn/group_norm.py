"""A layer norm whose gain and shift belong to the kind of token: GroupLN of MTGR.

Han et al., CIKM 2025, arXiv:2505.18654. The article does not say whether a group shares statistics; here each row has its own.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError


class GroupLayerNorm(nn.Module):
    """``[N, D]`` to ``[N, D]``: a row is normed by its own mean and spread, then gets the gain and the shift of its group.

    No row knows another one; a group without rows gets a gradient of exactly zero.
    """

    def __init__(self, num_groups: int, dim: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        if num_groups < 1:
            raise ConfigError(f"num_groups ({num_groups}) must be at least 1")
        self.eps = eps
        self.gain_GD = nn.Parameter(torch.ones(num_groups, dim))
        self.shift_GD = nn.Parameter(torch.zeros(num_groups, dim))

    def forward(self, x_ND: Tensor, group_N: Tensor) -> Tensor:
        """Rows of the groups ``group_N`` int64."""
        normed_ND = F.layer_norm(x_ND, x_ND.shape[-1:], eps=self.eps)
        return normed_ND * F.embedding(group_N, self.gain_GD) + F.embedding(group_N, self.shift_GD)
