"""``hashed_positions`` by products of unpacked signs: torch counts no bits, and matches less mismatches rank alike."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.nearest_positions.highest import highest_rows


def hashed_positions_vectorised(
    query_CW: Tensor, key_TW: Tensor, user_offsets_B1: Tensor, candidate_offsets_B1: Tensor, k: int
) -> Tensor:
    """See ``hashed_positions``."""
    return highest_rows(_signs(query_CW), _signs(key_TW), user_offsets_B1, candidate_offsets_B1, k)


def _signs(code_TW: Tensor) -> Tensor:
    """``[T, bits]`` of 1 and -1."""
    bit = torch.arange(64, device=code_TW.device)
    return ((code_TW[:, :, None] >> bit) & 1).mul(2).sub(1).flatten(1).float()
