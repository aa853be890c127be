"""Durations to rows of a table, in steps that grow with the duration. Closed formulas: the definition is the code."""

from __future__ import annotations

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
