"""``candidate_attention`` whose scores depend on one another: all of a candidate's, in the order of their keys, own one last."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.candidate_attention.reading import Reading
from hpgr.ops.length_blocks import gathered, length_blocks, padded_index
from hpgr.ops.weighing import Weighing

# Scores of a part of a block, over its users.
_SCORES = 1 << 18


def read_in_context(reading: Reading, weighing: Weighing) -> Tensor:
    """``[C, H, V]``. What lists leave out is hidden, and the gates of a boost lie over all of the history."""
    parts, places = [], []
    for users_b in length_blocks(reading.user_offsets_B1):
        cand_bC, asked_bC = padded_index(reading.candidate_offsets_B1, users_b)
        if not asked_bC.any():
            continue
        index_bL, there_bL = padded_index(reading.user_offsets_B1, users_b)
        step = max(1, _SCORES // max(1, index_bL.numel()))
        for cand_bc, asked_bc in zip(cand_bC.split(step, 1), asked_bC.split(step, 1)):
            read_bHCV = _read(reading, weighing, cand_bc, (index_bL, there_bL), reading.user_offsets_B1[users_b])
            parts.append(read_bHCV.transpose(1, 2)[asked_bc])
            places.append(cand_bc[asked_bc])
    read_CHV = torch.zeros_like(reading.own_v_CHK)
    return read_CHV.index_copy(0, torch.cat(places), torch.cat(parts).to(read_CHV.dtype)) if parts else read_CHV


def _read(
    reading: Reading, weighing: Weighing, cand_bC: Tensor, events: tuple[Tensor, Tensor], start_b: Tensor
) -> Tensor:
    """``[b, H, C, V]``."""
    index_bL, there_bL = events
    k, v = (gathered(x, index_bL).transpose(1, 2) for x in (reading.k_THK, reading.v_THK))
    q, own_k, own_v = (
        gathered(x, cand_bC).transpose(1, 2) for x in (reading.q_CHK, reading.own_k_CHK, reading.own_v_CHK)
    )
    scores_bHCL = (q * weighing.scale) @ k.transpose(-1, -2)
    own_bHC1 = (q * own_k).sum(-1, keepdim=True) * weighing.scale
    if weighing.bias is not None:
        if index_bL.shape[1]:
            scores_bHCL = scores_bHCL + weighing.bias.of(cand_bC[:, :, None], index_bL[:, None, :])[:, None]
        own_bHC1 = own_bHC1 + weighing.bias.own(cand_bC[:, :, None])[:, None]
    scores_bHCJ = torch.cat([scores_bHCL, own_bHC1], -1)
    visible_bCL = there_bL[:, None, :].expand(-1, cand_bC.shape[1], -1)
    if reading.key_time_T is not None and reading.query_time_C is not None:
        earlier = gathered(reading.key_time_T, index_bL)[:, None, :] < reading.query_time_C[cand_bC][:, :, None]
        visible_bCL = visible_bCL & earlier
    gate_bHCJ: Tensor | None = None
    if reading.listed is not None:
        gate_bCL = _over_all(*reading.listed, cand_bC, index_bL, start_b)
        visible_bCL = visible_bCL & (gate_bCL > 0)
        gate_bHCJ = F.pad(gate_bCL, (0, 1), value=1.0)[:, None]
    elif reading.boost is not None:
        rows_CW, gate_CW, beta_H = reading.boost
        boost_bHCL = beta_H[:, None, None] * _over_all(rows_CW, gate_CW, cand_bC, index_bL, start_b)[:, None]
        gate_bHCJ = F.pad(1 + boost_bHCL, (0, 1), value=1.0)
    visible_bHCJ = F.pad(visible_bCL, (0, 1), value=True)[:, None]
    scores_bHCJ = weighing.in_context(q, scores_bHCJ, visible_bHCJ)
    weights_bHCJ = weighing.weights(scores_bHCJ, visible_bHCJ, gate_bHCJ)
    return weights_bHCJ[..., :-1] @ v + weights_bHCJ[..., -1:] * own_v


def _over_all(rows_CW: Tensor, gate_CW: Tensor, cand_bC: Tensor, index_bL: Tensor, start_b: Tensor) -> Tensor:
    """``[b, C, L]``: the gates of lists where their rows stand in the history, 0 elsewhere."""
    rows_bCW, gate_bCW = rows_CW[cand_bC], gate_CW[cand_bC]
    length = index_bL.shape[1]
    at_bCW = (rows_bCW - start_b[:, None, None]).masked_fill(rows_bCW < 0, length)
    # A candidate that only pads the block may list rows of another user; nobody reads what it gets.
    at_bCW = at_bCW.clamp(0, length)
    gates_bCJ = gate_bCW.new_zeros((*cand_bC.shape, length + 1)).scatter_add(2, at_bCW, gate_bCW)
    return gates_bCJ[..., :length]
