"""``prefix_attention`` by batched products over users of similar length, some queries at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.length_blocks import gathered, length_blocks, padded_index
from hpgr.ops.prefix_attention.reading import PrefixReading
from hpgr.ops.weighing import Weighing

# Scores of one block: they stay in a core's cache between the two products.
_SCORES = 1 << 18


def prefix_attention_vectorised(reading: PrefixReading, weighing: Weighing) -> Tensor:
    """See ``prefix_attention``."""
    parts, places = [], []
    for users_b in length_blocks(reading.user_offsets_B1):
        query_bC, asked_bC = padded_index(reading.query_offsets_B1, users_b)
        if not asked_bC.any():
            continue
        index_bL, there_bL = padded_index(reading.user_offsets_B1, users_b)
        k, v = (gathered(x, index_bL).transpose(1, 2) for x in (reading.k_THK, reading.v_THK))
        step = max(1, _SCORES // max(1, index_bL.numel()))
        for query_bc, asked_bc in zip(query_bC.split(step, 1), asked_bC.split(step, 1)):
            read_bHcV = _read(reading, weighing, query_bc, (index_bL, there_bL, k, v))
            parts.append(read_bHcV.transpose(1, 2)[asked_bc])
            places.append(query_bc[asked_bc])
    if not parts:
        return reading.v_THK.new_zeros((reading.q_NHK.shape[0], *reading.v_THK.shape[1:]))
    read_MHV = torch.cat(parts)
    read_NHV = read_MHV.new_zeros((reading.q_NHK.shape[0], *read_MHV.shape[1:]))
    return read_NHV.index_copy(0, torch.cat(places), read_MHV)


def _read(
    reading: PrefixReading, weighing: Weighing, query_bC: Tensor, events: tuple[Tensor, Tensor, Tensor, Tensor]
) -> Tensor:
    """``[b, H, C, V]``: the own columns follow the events in the scores."""
    index_bL, there_bL, k_bHLK, v_bHLV = events
    q_bHCK = gathered(reading.q_NHK, query_bC).transpose(1, 2) * weighing.scale
    scores_bHCL = q_bHCK @ k_bHLK.transpose(-1, -2)
    if weighing.bias is not None:
        scores_bHCL = scores_bHCL + weighing.bias.of(query_bC[:, :, None], index_bL[:, None, :])[:, None]
    own_k, own_v = (gathered(x, query_bC) for x in (reading.own_k_NJHK, reading.own_v_NJHV))
    own_bHCJ = torch.einsum("bhck,bcjhk->bhcj", q_bHCK, own_k)
    if reading.own_bias_J is not None:
        own_bHCJ = own_bHCJ + reading.own_bias_J
    before_bCL = (index_bL[:, None] < reading.stop_N[query_bC][:, :, None]) & there_bL[:, None]
    own_bCJ = before_bCL.new_ones((*query_bC.shape, own_k.shape[2]))
    visible_bCX = torch.cat([before_bCL, own_bCJ], -1)
    weights_bHCX = weighing.weights(torch.cat([scores_bHCL, own_bHCJ], -1), visible_bCX[:, None])
    of_events, of_own = weights_bHCX.split([index_bL.shape[1], own_k.shape[2]], -1)
    return of_events @ v_bHLV + torch.einsum("bhcj,bcjhv->bhcv", of_own, own_v)
