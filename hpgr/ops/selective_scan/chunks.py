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
    """``index_QK`` int64: the event at step ``q`` of chunk ``k``, the longest chunks first; ``T`` where a chunk has ended.

    ``active``: how many chunks have an event at each step. ``later``: the chunks that are the second of their row, the
    third, …, each with those that they follow.
    """

    index_QK: Tensor
    size: int
    active: tuple[int, ...]
    later: tuple[tuple[Tensor, Tensor], ...]

    @classmethod
    def of(cls, offsets_B1: Tensor, size: int, numbers: int) -> Chunks:
        """For ``size`` events of ``numbers`` each."""
        lengths = offsets_B1.diff()
        steps = _steps(lengths, numbers)
        counts_B = (lengths + steps - 1) // steps
        row_K = torch.repeat_interleave(torch.arange(lengths.shape[0], device=lengths.device), counts_B)
        rank_K = torch.arange(row_K.shape[0], device=lengths.device) - (counts_B.cumsum(0) - counts_B)[row_K]
        length_K = (lengths[row_K] - rank_K * steps).clamp(max=steps)
        order_K = length_K.argsort(descending=True, stable=True)
        follows_K = order_K.argsort()[order_K - 1]
        row_K, rank_K, length_K = row_K[order_K], rank_K[order_K], length_K[order_K]
        step_Q1 = torch.arange(steps, device=lengths.device)[:, None]
        index_QK = (offsets_B1[row_K] + rank_K * steps + step_Q1).masked_fill(step_Q1 >= length_K, size)
        ranks = ((rank_K == rank).nonzero().squeeze(1) for rank in range(1, int(counts_B.max())))
        later = tuple((rows, follows_K[rows]) for rows in ranks)
        return cls(index_QK, size, tuple((step_Q1 < length_K).sum(1).tolist()), later)

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
        for rows, before in self.later:
            begin_KNE[rows] = own_KNE[before].addcmul_(fading_KNE[before], begin_KNE[before])
        return begin_KNE

    def carried_back(self, own_KNE: Tensor, fading_KNE: Tensor) -> Tensor:
        """The same from the last chunk of a row to its first."""
        end_KNE = torch.zeros_like(own_KNE)
        for rows, before in reversed(self.later):
            end_KNE[before] = own_KNE[rows].addcmul_(fading_KNE[rows], end_KNE[rows])
        return end_KNE


def _steps(lengths: Tensor, numbers: int) -> int:
    """Steps of a chunk, by the cost of calls and numbers; two passes where rows are cut."""
    longest, all_numbers = int(lengths.max()), int(lengths.sum()) * numbers
    choices = [longest]
    while _SHORTEST << len(choices) - 1 < longest:
        choices.append(_SHORTEST << len(choices) - 1)
    costs = {}
    for steps in choices:
        crossings = (longest - 1) // steps
        costs[steps] = (steps * _CALL + all_numbers) * (2 if crossings else 1) + 2 * crossings * _CALL
    return min(costs, key=lambda steps: costs[steps])
