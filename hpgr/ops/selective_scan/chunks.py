"""Rows cut into chunks of as many steps, so that the first events of all chunks go together, then the second ones, …"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# What a step costs beside its numbers, in numbers.
_CALL = 1 << 15
_SHORTEST = 8


@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """``index_QK`` int64: the event at step ``q`` of chunk ``k``, ``T`` where a chunk has ended; a row's chunks lie in order.

    ``later``: the chunks that are the second of their row, the third, …; each follows the one before it in ``k``.
    """

    index_QK: Tensor
    size: int
    later: tuple[Tensor, ...]

    @classmethod
    def of(cls, offsets_B1: Tensor, size: int, numbers: int) -> Chunks:
        """For ``size`` events of ``numbers`` each."""
        lengths = offsets_B1.diff()
        steps = _steps(lengths, numbers)
        counts_B = (lengths + steps - 1) // steps
        row_K = torch.repeat_interleave(torch.arange(lengths.shape[0], device=lengths.device), counts_B)
        first_B = counts_B.cumsum(0) - counts_B
        rank_K = torch.arange(row_K.shape[0], device=lengths.device) - first_B[row_K]
        place_QK = torch.arange(steps, device=lengths.device)[:, None] + rank_K * steps
        index_QK = (offsets_B1[row_K] + place_QK).masked_fill(place_QK >= lengths[row_K], size)
        ranks = range(1, int(counts_B.max()))
        return cls(index_QK, size, tuple((rank_K == rank).nonzero().squeeze(1) for rank in ranks))

    def laid(self, x_TD: Tensor) -> Tensor:
        """``[Q, K, D]``, zero where a chunk has ended."""
        padded = torch.cat([x_TD, x_TD.new_zeros((1, x_TD.shape[1]))])
        return padded.index_select(0, self.index_QK.flatten()).view(*self.index_QK.shape, -1)

    def taken(self, x_QKD: Tensor) -> Tensor:
        """``[T, D]``: ``laid``, undone."""
        out = x_QKD.new_empty((self.size + 1, x_QKD.shape[2]))
        return out.index_copy_(0, self.index_QK.flatten(), x_QKD.flatten(0, 1))[:-1]

    def carried(self, own_KNE: Tensor, fading_KNE: Tensor) -> Tensor:
        """``[K, N, E]``: what chunks begin with, from what each gives to the next by itself and how much passes through."""
        begin_KNE = torch.zeros_like(own_KNE)
        for rows in self.later:
            before = rows - 1
            begin_KNE[rows] = own_KNE[before].addcmul_(fading_KNE[before], begin_KNE[before])
        return begin_KNE

    def carried_back(self, own_KNE: Tensor, fading_KNE: Tensor) -> Tensor:
        """The same from the last chunk of a row to its first."""
        end_KNE = torch.zeros_like(own_KNE)
        for rows in reversed(self.later):
            end_KNE[rows - 1] = own_KNE[rows].addcmul_(fading_KNE[rows], end_KNE[rows])
        return end_KNE


def _steps(lengths: Tensor, numbers: int) -> int:
    """Steps of a chunk, by the cost of calls and numbers; two passes where rows are cut."""
    longest = int(lengths.max())
    choices = [longest]
    while _SHORTEST << len(choices) - 1 < longest:
        choices.append(_SHORTEST << len(choices) - 1)
    costs = {}
    for steps in choices:
        counts_B = (lengths + steps - 1) // steps
        crossings = int(counts_B.max()) - 1
        each = _CALL + int(counts_B.sum()) * numbers
        costs[steps] = steps * each * (2 if crossings else 1) + 2 * crossings * _CALL
    return min(costs, key=lambda steps: costs[steps])
