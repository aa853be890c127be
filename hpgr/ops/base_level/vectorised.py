"""``base_level`` for blocks of readings at once."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.core.jagged import row_of
from hpgr.ops.base_level.plays import first_plays


def base_level_vectorised(
    item_T: Tensor,
    time_ms_T: Tensor,
    offsets_B1: Tensor,
    read_N: Tensor,
    at_ms_N: Tensor,
    *,
    decay: float,
    floor_s: float,
) -> Tensor:
    """See ``base_level``."""
    size = int(offsets_B1.diff().max()) if offsets_B1.shape[0] > 1 else 0
    start_T = offsets_B1[row_of(offsets_B1, item_T.shape[0])]
    place_T = first_plays(item_T, offsets_B1) - start_T
    event_NL = start_T[read_N][:, None] + torch.arange(size, device=read_N.device)
    there_NL = event_NL <= read_N[:, None]
    event_NL = torch.where(there_NL, event_NL, read_N[:, None])
    age_s_NL = ((at_ms_N[:, None] - time_ms_T[event_NL]).double() / 1000).clamp(min=floor_s)
    faded_NL = age_s_NL.float().pow(-decay) * there_NL
    return torch.zeros_like(faded_NL).scatter_add_(1, place_T[event_NL], faded_NL)
