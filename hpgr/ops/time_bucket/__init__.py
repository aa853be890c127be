"""Durations to rows of a table, in steps that grow with the duration. Closed formulas: the definition is the code."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import shapes_are_fixed

HSTU_BUCKETS = 129


def hstu_bucket(delta_s: Tensor) -> Tensor:
    """int64 in ``0 … 128``: ``floor(ln(max(1, |delta|)) / 0.301)`` of a duration in seconds.

    Source: research code of Zhai et al., ICML 2024, arXiv:2402.17152; 0.301 is log10(2), yet the logarithm is natural,
    so a bucket spans a factor of 1.351.

    >>> import torch
    >>> hstu_bucket(torch.tensor([0, 1, 2, 60, -60])).tolist()
    [0, 0, 2, 13, 13]
    """
    return (delta_s.abs().clamp(min=1).double().log() / 0.301).floor().clamp(max=HSTU_BUCKETS - 1).long()


def hstu_bucket_of_ms(delta_ms: Tensor) -> Tensor:
    """int64: ``hstu_bucket(delta_ms / 1000)`` for whole milliseconds below 2**53, without a logarithm for each.

    The leading bits of a float64 name a sixteenth of a power of two, in which at most one bucket begins.

    >>> import torch
    >>> hstu_bucket_of_ms(torch.tensor([0, 1000, 2000, 60_000, -60_000])).tolist()
    [0, 0, 2, 13, 13]
    """
    if shapes_are_fixed():
        return hstu_bucket(delta_ms.double() / 1000)
    next_S, border_S = _buckets_by_leading_bits(delta_ms.device)
    delta = (delta_ms if delta_ms.is_floating_point() else delta_ms.double()).abs().double()
    lines = delta.view(1, -1) if delta.ndim < 2 else delta.flatten(1)
    step = lines.view(torch.int64) >> _CELL_BITS
    bucket, border = (table.expand(lines.shape[0], -1).gather(1, step) for table in (next_S, border_S))
    # The sign bit of what is missing to the border takes one bucket back.
    below = lines.sub_(border).view(torch.int64).bitwise_right_shift_(63)
    return bucket.add_(below).view(delta_ms.shape)


# A float64 without its last 48 bits: sign, exponent and four bits of the fraction.
_CELL_BITS = 48


@lru_cache(maxsize=4)
def _buckets_by_leading_bits(device: torch.device) -> tuple[Tensor, Tensor]:
    """``(next, border)`` of each sixteenth: the bucket at its start and one more, and where that one begins; infinity
    where it begins later."""
    start_S = (torch.arange(2047 << 4) << _CELL_BITS).view(torch.float64)
    first_S = hstu_bucket(start_S / 1000)
    bucket_N = torch.arange(1, HSTU_BUCKETS)
    edge_N = (0.301 * bucket_N.double()).exp() * 1000
    near = edge_N.floor()[:, None] + torch.arange(-32, 33)
    begins_N = near.masked_fill(hstu_bucket(near / 1000) < bucket_N[:, None], torch.inf).amin(1)
    border_S = torch.cat([begins_N, begins_N.new_tensor([torch.inf])])[first_S]
    return (first_S + 1).to(device), border_S.to(device)


def log_bucket(delta: Tensor, *, num_buckets: int, first: float, per_doubling: int = 2) -> Tensor:
    """int64 in ``0 … num_buckets - 1``: 0 below ``first`` (and for what is negative), then ``per_doubling`` buckets for
    every doubling of ``delta``, which has the unit of ``first``.

    Raises: ConfigError for a ``num_buckets``, ``first`` or ``per_doubling`` that is not positive.

    >>> import torch
    >>> log_bucket(torch.tensor([-5, 999, 1000, 2000, 4000]), num_buckets=8, first=1000, per_doubling=1).tolist()
    [0, 0, 1, 2, 3]
    """
    for name, value in (("num_buckets", num_buckets), ("first", first), ("per_doubling", per_doubling)):
        if not value > 0:
            raise ConfigError(f"{name} ({value}) must be positive")
    if shapes_are_fixed():
        # Compared, for a logarithm that another runtime takes need not be whole at a power of two.
        border_N = first * torch.exp2(
            torch.arange(num_buckets - 1, dtype=torch.float64, device=delta.device) / per_doubling
        )
        return (delta.double().unsqueeze(-1) >= border_N).sum(-1)
    doublings = (delta.double() / first).clamp(min=0.5).log2()
    return ((doublings * per_doubling).floor() + 1).clamp(0, num_buckets - 1).long()


def sqrt_bucket(delta_s: Tensor, *, num_buckets: int) -> Tensor:
    """int64 in ``0 … num_buckets - 1``: the root of a duration in minutes, rounded down; 0 for what is negative.

    Source: library layer of Zhai et al., ICML 2024, arXiv:2402.17152, with 2,048 buckets.

    >>> import torch
    >>> sqrt_bucket(torch.tensor([-60, 59, 60, 240, 10**9]), num_buckets=8).tolist()
    [0, 0, 1, 2, 7]
    """
    if not num_buckets > 0:
        raise ConfigError(f"num_buckets ({num_buckets}) must be positive")
    return (delta_s.double().clamp(min=0) / 60).sqrt().floor().clamp(max=num_buckets - 1).long()
