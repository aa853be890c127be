"""HSTU's time buckets without a logarithm a pair: a cell of a duration's float32 bits, and one comparison."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from hpgr.ops.time_bucket import HSTU_BUCKETS, hstu_bucket

# Three bits of mantissa: a cell spans a factor of 1.125 at most and holds at most one border of buckets (factor 1.351).
MANTISSA_BITS = 3
_CELLS = 63 << MANTISSA_BITS
_LATEST = torch.iinfo(torch.int64).max


@lru_cache(maxsize=1)
def hstu_edges_ms() -> Tensor:
    """int64 ``[128]``: the least duration in milliseconds of bucket 1, 2, …; the largest int64 where there is none."""
    bucket = torch.arange(1, HSTU_BUCKETS)
    low, high = torch.zeros_like(bucket), torch.full_like(bucket, _LATEST)
    while bool((high - low > 1).any()):
        middle = low + (high - low) // 2
        reached = hstu_bucket(middle.double() / 1000) >= bucket
        low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
    return high


@lru_cache(maxsize=8)
def hstu_cells(device: torch.device) -> tuple[Tensor, Tensor]:
    """``(base int32 [504], edge int64 [504])``: a duration of cell ``c`` has bucket ``base[c]``, one more from
    ``edge[c]`` milliseconds on. The cell: exponent and first bits of the mantissa of the duration as float32, from 1 up.
    """
    cell = torch.arange(_CELLS)
    exponent, step = cell >> MANTISSA_BITS, cell & ((1 << MANTISSA_BITS) - 1)
    start = (1 + step.double() / (1 << MANTISSA_BITS)) * 2.0 ** exponent.double()
    # Durations just below a cell may round up into it.
    start = (start * (1 - 2.0**-24)).floor().long()
    edges = hstu_edges_ms()
    base = torch.searchsorted(edges, start, right=True)
    edge = torch.cat([edges, edges.new_tensor([_LATEST])])[base]
    return base.int().to(device), edge.to(device)
