"""Candidates that read the whole history of their user, some of them at a time."""

from __future__ import annotations

from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.candidate_attention.reading import Reading
from hpgr.ops.length_blocks import gathered, length_blocks, padded_index
from hpgr.ops.weighing import Weighing

# Scores of one block: they stay in a core's cache between the two products.
_SCORES = 1 << 18
# Of a block of users: index [b, L], which of it is there (None: all), keys and values [b, H, L, K].
_Events: TypeAlias = tuple[Tensor, "Tensor | None", Tensor, Tensor]


def read_all(reading: Reading, weighing: Weighing) -> Tensor:
    """Everything of one's user, and one's own column."""
    silu = weighing.kind == "silu"
    parts, places = [], []
    for users_b in length_blocks(reading.user_offsets_B1):
        cand_bC, asked_bC = padded_index(reading.candidate_offsets_B1, users_b)
        if not asked_bC.any():
            continue
        index_bL, there_bL = padded_index(reading.user_offsets_B1, users_b)
        k, v = (_of_users(x, index_bL, reading.user_offsets_B1, users_b) for x in (reading.k_THK, reading.v_THK))
        events = index_bL, None if bool(there_bL.all()) else there_bL, k, v
        step = max(1, _SCORES // max(1, index_bL.numel()))
        for cand_bc, asked_bc in zip(cand_bC.split(step, 1), asked_bC.split(step, 1)):
            read = _read_pointwise if silu else _read_softmax
            parts.append(read(reading, weighing, cand_bc, events).transpose(1, 2)[asked_bc])
            places.append(cand_bc[asked_bc])
    read_CHV = torch.zeros_like(reading.own_v_CHK)
    if parts:
        # A softmax is exact under the autocast of a device, and a copy promotes nothing there.
        read_CHV = read_CHV.index_copy(0, torch.cat(places), torch.cat(parts).to(read_CHV.dtype))
    return read_CHV + reading.own(weighing) if silu else read_CHV


def _of_users(x_THK: Tensor, index_bL: Tensor, offsets_B1: Tensor, users_b: Tensor) -> Tensor:
    """``[b, H, L, K]``; a view where there is one user."""
    if users_b.shape[0] > 1:
        return gathered(x_THK, index_bL).transpose(1, 2)
    start = int(offsets_B1[users_b])
    return x_THK[start : start + index_bL.shape[1]].transpose(0, 1)[None]


def _scores(reading: Reading, weighing: Weighing, cand_bC: Tensor, events: _Events) -> tuple[Tensor, Tensor | None]:
    """``scores_bHCL`` and which of them are visible, ``[b, C or 1, L]``; None: all."""
    index_bL, there_bL, k_bHLK, _ = events
    query, key = cand_bC[:, :, None], index_bL[:, None, :]
    q_bHCK = gathered(reading.q_CHK, cand_bC).transpose(1, 2) * weighing.scale
    scores_bHCL = q_bHCK @ k_bHLK.transpose(-1, -2)
    if weighing.bias is not None and index_bL.shape[1]:
        scores_bHCL = scores_bHCL + weighing.bias.of(query, key)[:, None]
    visible = None if there_bL is None else there_bL[:, None, :]
    if reading.key_time_T is not None and reading.query_time_C is not None:
        earlier = gathered(reading.key_time_T, key) < reading.query_time_C[query]
        visible = earlier if visible is None else visible & earlier
    return scores_bHCL, visible


def _read_pointwise(reading: Reading, weighing: Weighing, cand_bC: Tensor, events: _Events) -> Tensor:
    """``[b, H, C, V]``, without the own column."""
    scores_bHCL, visible = _scores(reading, weighing, cand_bC, events)
    weights_bHCL = F.silu(scores_bHCL, inplace=not scores_bHCL.requires_grad)
    if visible is not None:
        weights_bHCL = weights_bHCL.masked_fill(~visible[:, None], 0.0)
    return (weights_bHCL @ events[3]) / weighing.divisor


def _read_softmax(reading: Reading, weighing: Weighing, cand_bC: Tensor, events: _Events) -> Tensor:
    """``[b, H, C, V]``: the own column is the last of the scores."""
    scores_bHCL, visible = _scores(reading, weighing, cand_bC, events)
    q, own_k, own_v = (
        gathered(x, cand_bC).transpose(1, 2) for x in (reading.q_CHK, reading.own_k_CHK, reading.own_v_CHK)
    )
    own_bHC1 = (q * own_k).sum(-1, keepdim=True) * weighing.scale
    if weighing.bias is not None:
        own_bHC1 = own_bHC1 + weighing.bias.own(cand_bC[:, :, None])[:, None]
    seen_bHCJ = torch.ones_like(torch.cat([scores_bHCL, own_bHC1], -1), dtype=torch.bool)
    if visible is not None:
        seen_bHCJ[..., :-1] = visible[:, None]
    weights_bHCJ = weighing.weights(torch.cat([scores_bHCL, own_bHC1], -1), seen_bHCJ)
    return weights_bHCJ[..., :-1] @ events[3] + weights_bHCJ[..., -1:] * own_v
