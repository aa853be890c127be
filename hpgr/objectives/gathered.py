"""Scores of a few items a state, each state its own: dot products with gathered rows, in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# Gathered numbers that stand in memory together: what a processor's cache holds, what fills a device.
_ON_CPU, _ON_DEVICE = 2**18, 2**26


def gathered_scores(states_ND: Tensor, table_VD: Tensor, rows_NM: Tensor) -> Tensor:
    """``[N, M]``: ``states[n] · table[rows[n, m]]``, in float32 or wider whatever autocast says.

    Neither ``[N, M, D]`` nor ``[N, V]`` is ever whole: rows are gathered in blocks, and again for the gradient.
    """
    exact = torch.promote_types(torch.float32, torch.promote_types(states_ND.dtype, table_VD.dtype))
    # Conversions stand outside, so that gradients come back in the type of what was given.
    scores: Tensor = _Gathered.apply(states_ND.to(exact), table_VD.to(exact), rows_NM)
    return scores


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states_ND: Tensor, table_VD: Tensor, rows_NM: Tensor) -> Tensor:
        ctx.save_for_backward(states_ND, table_VD, rows_NM)
        scores_NM = states_ND.new_empty(rows_NM.shape)
        with torch.autocast(states_ND.device.type, enabled=False):
            for part in _blocks(states_ND, rows_NM):
                scores_NM[part] = torch.einsum("nd,nmd->nm", states_ND[part], _rows(table_VD, rows_NM[part]))
        return scores_NM

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, up_NM: Tensor) -> tuple[Tensor, Tensor, None]:
        states_ND, table_VD, rows_NM = ctx.saved_tensors
        to_states_ND, to_table_VD = torch.empty_like(states_ND), torch.zeros_like(table_VD)
        with torch.autocast(states_ND.device.type, enabled=False):
            for part in _blocks(states_ND, rows_NM):
                to_states_ND[part] = torch.einsum("nm,nmd->nd", up_NM[part], _rows(table_VD, rows_NM[part]))
                spread_NMD = up_NM[part, :, None] * states_ND[part, None]
                to_table_VD.index_add_(0, rows_NM[part].flatten(), spread_NMD.flatten(0, 1))
        return to_states_ND, to_table_VD, None


def _rows(table_VD: Tensor, rows_NM: Tensor) -> Tensor:
    return table_VD.index_select(0, rows_NM.flatten()).view(*rows_NM.shape, -1)


def _blocks(states_ND: Tensor, rows_NM: Tensor) -> list[slice]:
    room = _ON_CPU if states_ND.device.type == "cpu" else _ON_DEVICE
    step = max(1, room // max(1, rows_NM.shape[1] * states_ND.shape[1]))
    return [slice(start, start + step) for start in range(0, rows_NM.shape[0], step)]
