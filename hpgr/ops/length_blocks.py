"""Jagged rows in blocks of similar length, so that padding inside a block costs little and never shows outside."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_SHORTEST = 8
# Padded pairs of one block: large enough that a kernel is worth its call, small enough for a core's cache.
_PAIRS = 1 << 19


def length_blocks(offsets_B1: Tensor) -> Iterator[Tensor]:
    """Every row once, as index tensors ``[b]``; a block holds lengths up to 8, or above ``n`` and up to ``2n``."""
    lengths = offsets_B1.diff()
    if not lengths.numel():
        return
    longest = int(lengths.max())
    borders = [_SHORTEST]
    while borders[-1] < longest:
        borders.append(2 * borders[-1])
    block_B = torch.bucketize(lengths, torch.tensor(borders, device=lengths.device))
    for block, border in enumerate(borders):
        rows = (block_B == block).nonzero().squeeze(1)
        if rows.numel():
            yield from rows.split(max(1, _PAIRS // border**2))


def padded_index(offsets_B1: Tensor, rows_b: Tensor) -> tuple[Tensor, Tensor]:
    """``(index [b, L], there [b, L])``: the values of each row by their index, 0 where ``there`` is False."""
    start, lengths = offsets_B1[rows_b, None], (offsets_B1[rows_b + 1] - offsets_B1[rows_b])[:, None]
    step = torch.arange(int(lengths.max()), device=offsets_B1.device)
    there = step < lengths
    return (start + step).masked_fill(~there, 0), there


def gathered(values: Tensor, index: Tensor) -> Tensor:
    """``values[index]`` for ``values [T, ...]`` and an index of any shape; zeros where there are no values at all."""
    if not values.shape[0]:
        return values.new_zeros((*index.shape, *values.shape[1:]))
    return values.index_select(0, index.flatten()).view(*index.shape, *values.shape[1:])
