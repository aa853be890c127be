"""Weights added up by key, part by part, in memory that grows with the different keys only."""

from __future__ import annotations

import torch
from torch import Tensor

_MERGE_AT = 8_000_000


class KeyedSums:
    """Each sum takes its weights in the order in which they came, in float64, however they were cut into parts.

    >>> sums = KeyedSums()
    >>> sums.add(torch.tensor([5, 2]), torch.tensor([1.0, 0.5]))
    >>> sums.add(torch.tensor([5]), torch.tensor([2.0]))
    >>> sums.found()
    (tensor([2, 5]), tensor([0.5000, 3.0000], dtype=torch.float64))
    """

    def __init__(self) -> None:
        self._key_P = torch.zeros(0, dtype=torch.int64)
        self._sum_P = torch.zeros(0, dtype=torch.float64)
        self._waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, key_N: Tensor, weight_N: Tensor) -> None:
        """Int64 keys, any number of times each, and their weights; kept on the CPU."""
        self._waiting.append((key_N.cpu(), weight_N.cpu().double()))
        # Merging only what is as long as the sum itself keeps the cost of sorting linear in what comes.
        if sum(len(key) for key, _ in self._waiting) > max(_MERGE_AT, len(self._key_P)):
            self._merge()

    def found(self) -> tuple[Tensor, Tensor]:
        """``(key_P, sum_P)``: every key once, ascending; sums float64."""
        self._merge()
        return self._key_P, self._sum_P

    def _merge(self) -> None:
        key = torch.cat([self._key_P, *(key for key, _ in self._waiting)])
        weight = torch.cat([self._sum_P, *(weight for _, weight in self._waiting)])
        self._waiting = []
        self._key_P, at = key.unique(return_inverse=True)
        self._sum_P = torch.zeros(self._key_P.shape[0], dtype=torch.float64).index_add_(0, at, weight)
