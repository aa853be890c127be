"""The rows of the highest products of queries and keys, some queries at a time: no square larger than a block."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hpgr.ops.length_blocks import gathered, length_blocks, padded_index

# Scores of one block: they stay in a core's cache between their product and the choice.
_SCORES = 1 << 18
PLACE = 0xFFFFFFFF
# The upper half of an order for a score of minus infinity: there is no such event.
_NOTHING = -0x7F800001


@torch.no_grad()
def highest_rows(
    query_CD: Tensor, key_TD: Tensor, user_offsets_B1: Tensor, candidate_offsets_B1: Tensor, k: int
) -> Tensor:
    """``rows_CK`` int64: the ``k`` rows of the candidate's own user with the highest product in single precision, of equal
    ones the later; then -1."""
    rows_CK = torch.full((query_CD.shape[0], k), -1, dtype=torch.int64, device=query_CD.device)
    # Rounded products of exact vectors would tie no more.
    with torch.autocast(query_CD.device.type, enabled=False):
        for users_b in length_blocks(user_offsets_B1):
            cand_bC, asked_bC = padded_index(candidate_offsets_B1, users_b)
            keys, start_b11 = _Keys.of(key_TD, user_offsets_B1, users_b, k), user_offsets_B1[users_b, None, None]
            step = max(1, _SCORES // max(1, keys.there_bL.numel()))
            for cand_bc, asked_bc in zip(cand_bC.split(step, 1), asked_bC.split(step, 1)):
                place_bcK = keys.highest(gathered(query_CD, cand_bc), k)
                found_bcK = torch.where(place_bcK < 0, -1, place_bcK + start_b11)
                rows_CK[cand_bc[asked_bc], : found_bcK.shape[2]] = found_bcK[asked_bc]
    return rows_CK


class _Keys:
    """Histories of similar length, padded, in groups of neighbours: column ``r * count + j`` is event ``j * group + r``."""

    def __init__(self, key_bDL: Tensor, there_bL: Tensor, group: int) -> None:
        self.key_bDL, self.there_bL, self.group = key_bDL, there_bL, group
        self.full = bool(there_bL.all())

    @classmethod
    def of(cls, key_TD: Tensor, user_offsets_B1: Tensor, users_b: Tensor, k: int) -> _Keys:
        index_bL, there_bL = padded_index(user_offsets_B1, users_b)
        length = index_bL.shape[1]
        # Work grows with length / group + k * group.
        group = 2 ** max(0, round(math.log2(max(1, length) / k) / 2))
        more = -length % group
        index_bL, there_bL = (torch.nn.functional.pad(x, (0, more)) for x in (index_bL, there_bL))
        by_turns = torch.arange(length + more, device=index_bL.device).view(-1, group).T.flatten()
        return cls(gathered(key_TD, index_bL[:, by_turns]).transpose(1, 2), there_bL[:, by_turns], group)

    def highest(self, query_bcD: Tensor, k: int) -> Tensor:
        """``[b, c, K]``: places in the history, best first, -1 where there are no more; ``K`` at most ``k``."""
        scores_bcL = torch.bmm(query_bcD, self.key_bDL).float()
        if not self.full:
            scores_bcL.masked_fill_(~self.there_bL[:, None], -torch.inf)
        count = scores_bcL.shape[2] // self.group
        group_bcJ = torch.arange(count, device=scores_bcL.device)
        if count > k:
            # Whoever is among the k highest stands in one of the k groups with the highest maxima.
            top_bcN = scores_bcL.unflatten(2, (self.group, count)).amax(2)
            group_bcJ = _largest(ranked(top_bcN, group_bcJ), k) & PLACE
        turn_R1 = torch.arange(self.group, device=scores_bcL.device)[:, None]
        place_bcP = (group_bcJ[..., None, :] * self.group + turn_R1).flatten(-2)
        if count > k:
            scores_bcL = scores_bcL.gather(2, (turn_R1 * count + group_bcJ[..., None, :]).flatten(-2))
        best_bcK = _largest(ranked(scores_bcL, place_bcP), min(k, scores_bcL.shape[2])).sort(descending=True).values
        return (best_bcK & PLACE).masked_fill((best_bcK >> 32) == _NOTHING, -1)


def ranked(score: Tensor, place: Tensor) -> Tensor:
    """int64 that order as the float32 scores do, and of equal scores as the places; the places are the low half."""
    bits = (score + 0.0).view(torch.int32).long()
    return ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) << 32) | place


def _largest(x_bcN: Tensor, k: int) -> Tensor:
    """The ``k`` largest of each row, in no order. On a CPU NumPy finds them in vector instructions, torch's topk does not."""
    if x_bcN.device.type != "cpu":
        return x_bcN.topk(k, sorted=False).values
    return torch.from_numpy(np.partition(x_bcN.numpy(), x_bcN.shape[-1] - k, axis=-1)[..., x_bcN.shape[-1] - k :])
