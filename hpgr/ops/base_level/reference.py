"""The definition of ``base_level``, one reading and one play at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def base_level_reference(
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
    borders = list(zip(offsets_B1[:-1].tolist(), offsets_B1[1:].tolist()))
    strength_NL = torch.zeros(len(read_N), max((stop - start for start, stop in borders), default=0))
    for n, (read, at_ms) in enumerate(zip(read_N.tolist(), at_ms_N.tolist())):
        start = next(start for start, stop in borders if start <= read < stop)
        first: dict[int, int] = {}
        for event in range(start, read + 1):
            place = first.setdefault(int(item_T[event]), event - start)
            age_s = max((at_ms - int(time_ms_T[event])) / 1000, floor_s)
            strength_NL[n, place] += age_s**-decay
    return strength_NL
