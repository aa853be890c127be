"""Durations to rows of a table, in steps that grow with the duration. Closed formulas: the definition is the code."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError

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
    first_S, border_S = _buckets_by_leading_bits(delta_ms.device)
    delta = delta_ms.double().abs_() if delta_ms.dtype != torch.float64 else delta_ms.abs()
    lines = (delta.clamp_(min=1.0).view(-1) if delta.ndim < 2 else delta.clamp_(min=1.0).flatten(1)).contiguous()
    step = (lines.view(torch.int64) >> _CELL_BITS).sub_(_ONE).clamp_(max=first_S.shape[0] - 1)
    bucket = _taken(first_S, step).add_(lines >= _taken(border_S, step))
    return bucket.view(delta_ms.shape)


# A float64 without the last 48 bits: sign, exponent and four bits of the fraction.
_CELL_BITS = 48
_ONE = 1023 << 4


def _taken(table_S: Tensor, index: Tensor) -> Tensor:
    return table_S.expand(*index.shape[:-1], -1).gather(-1, index)


@lru_cache(maxsize=4)
def _buckets_by_leading_bits(device: torch.device) -> tuple[Tensor, Tensor]:
    """``(first, border)``: the bucket at the start of each sixteenth, and where the next begins, infinity if beyond."""
    cells = torch.arange(53 << 4)
    start_S = ((cells + _ONE) << _CELL_BITS).view(torch.float64)
    first_S = hstu_bucket(start_S / 1000)
    edge = (0.301 * torch.arange(1, HSTU_BUCKETS).double()).exp() * 1000
    near = edge.floor()[:, None] + torch.arange(-32, 33)
    at_least = hstu_bucket(near / 1000) >= torch.arange(1, HSTU_BUCKETS)[:, None]
    begins = near.masked_fill(~at_least, torch.inf).amin(1)
    border_S = torch.cat([begins, begins.new_tensor([torch.inf])])[first_S]
    last_S = torch.cat([start_S[1:], start_S.new_tensor([2.0**53])])
    return first_S.to(device), border_S.masked_fill(border_S >= last_S, torch.inf).to(device)


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
