"""Rows of similar length side by side, heads first, as the blocked path computes them; memory linear in the events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RowGroup:
    """``index_bL``: the events of ``b`` rows, some event where ``there_bL`` is False; ``padded``: whether any is."""

    index_bL: Tensor
    there_bL: Tensor
    padded: bool

    @property
    def length(self) -> int:
        return self.index_bL.shape[1]

    def heads(self, x_THK: Tensor) -> Tensor:
        """``[b * H, L, K]``, new and contiguous, zeros where a row has ended."""
        heads, width = x_THK.shape[1:]
        lines = x_THK.reshape(-1, width).index_select(0, self._lines(self.index_bL, heads))
        if self.padded:
            ended = ~self.there_bL[:, None, :, None]
            lines.view(-1, heads, self.length, width).masked_fill_(ended, 0.0)
        return lines.view(-1, self.length, width)

    def put(self, x_nLK: Tensor, into_SHK: Tensor) -> None:
        """The inverse, into ``[T + 1, H, K]``: what a row does not have lands in the last place."""
        heads, last = into_SHK.shape[1], into_SHK.shape[0] - 1
        index_bL = self.index_bL.masked_fill(~self.there_bL, last) if self.padded else self.index_bL
        lines = into_SHK.view(-1, into_SHK.shape[2])
        lines.index_copy_(0, self._lines(index_bL, heads), x_nLK.flatten(0, 1))

    @staticmethod
    def _lines(index_bL: Tensor, heads: int) -> Tensor:
        head_H1 = torch.arange(heads, device=index_bL.device)[:, None]
        return (index_bL[:, None] * heads + head_H1).flatten()


def row_groups(offsets_B1: Tensor, *, numbers: int) -> Iterator[RowGroup]:
    """Every row that has events once; a group holds at most ``numbers`` padded events, or one row."""
    lengths = offsets_B1.diff()
    ordered, order = lengths.sort(descending=True, stable=True)
    sizes = ordered.tolist()
    first = 0
    while first < len(sizes) and sizes[first]:
        longest = sizes[first]
        # Padding may cost a third; among short rows a call costs more than padding.
        shortest = max(1, longest * 3 // 4 - 16)
        stop = first + 1
        while stop < len(sizes) and sizes[stop] >= shortest and (stop + 1 - first) * longest <= numbers:
            stop += 1
        rows_b = order[first:stop]
        step_L = torch.arange(longest, device=offsets_B1.device)
        there_bL = step_L < ordered[first:stop, None]
        index_bL = (offsets_B1[rows_b, None] + step_L).clamp(max=offsets_B1[-1] - 1)
        yield RowGroup(index_bL, there_bL, padded=sizes[stop - 1] < longest)
        first = stop
