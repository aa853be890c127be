"""Cross-entropy over the whole catalogue, in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.objectives.losses.softmax_blocks import BlockedCost

# Scores that may stand in memory together as whole rows; beyond, rows are cut as well.
_WHOLE = 2**25
# A share below this is too small for its logarithm to be taken from it.
_FAINT = 1e-30


def softmax_loss(
    states_ND: Tensor, target_N: Tensor, table_VD: Tensor, *, bias_V: Tensor | None = None, chunk: int = 128
) -> Tensor:
    """Mean of ``-log softmax(states @ table.T + bias)[target]`` in nats; 0 where there is nothing to predict.

    Logits of more than ``chunk`` rows never stand in memory together: the gradient is taken while they are there, and
    nothing of size ``N × V`` is kept for the backward pass. Where so many rows are too long, blocks of predictions and
    items are taken twice instead, and memory does not grow with ``V`` besides the gradient of the table.
    Under autocast the products are in its type, sums in float32.
    """
    if states_ND.shape[0] == 0:
        return (states_ND.sum() + 0.0 * table_VD.sum()) * 0.0
    if min(chunk, states_ND.shape[0]) * table_VD.shape[0] > _WHOLE:
        total: Tensor = BlockedCost.apply(states_ND, target_N, table_VD, bias_V)
    else:
        total = _Cost.apply(states_ND, target_N, table_VD, bias_V, chunk)
    return total / states_ND.shape[0]


def softmax_reference(states_ND: Tensor, target_N: Tensor, table_VD: Tensor, *, bias_V: Tensor | None = None) -> Tensor:
    """What ``softmax_loss`` gives, with every score in memory at once."""
    logits_NV = states_ND @ table_VD.T
    return F.cross_entropy(logits_NV if bias_V is None else logits_NV + bias_V, target_N)


class _Cost(torch.autograd.Function):
    """The sum over predictions. With p = softmax(s Wᵀ + b) and y the targets: ∂s = (p - y) W, ∂W = (p - y)ᵀ s, ∂b = Σ (p - y)."""

    @staticmethod
    def forward(
        ctx: Any, states_ND: Tensor, target_N: Tensor, table_VD: Tensor, bias_V: Tensor | None, chunk: int
    ) -> Tensor:
        kind = states_ND.device.type
        cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else table_VD.dtype
        exact = torch.promote_types(torch.float32, states_ND.dtype)
        ctx.dtypes = tuple(None if x is None else x.dtype for x in (states_ND, table_VD, bias_V))
        ups: list[Tensor] = []
        with torch.autocast(kind, enabled=False):
            states, table = states_ND.to(cast), table_VD.to(cast)
            if any(ctx.needs_input_grad):
                ups = [x.new_zeros(x.shape, dtype=exact) for x in (states, table, table[:, 0])]
            own_N = states.new_empty(states.shape[0], dtype=exact)
            # Written again for every part: large blocks that come and go are paid for page by page.
            rows = states.new_empty(min(chunk, states.shape[0]), table.shape[0])
            shares = torch.empty_like(rows, dtype=exact)
            scores = rows if cast == exact else torch.empty_like(shares)
            for start in range(0, states.shape[0], chunk):
                part = slice(start, start + chunk)
                state_ND = states[part]
                row_NV = torch.mm(state_ND, table.T, out=rows[: len(state_ND)])
                logits_NV = row_NV if cast == exact else scores[: len(state_ND)].copy_(row_NV)
                if bias_V is not None:
                    logits_NV += bias_V
                share_NV = torch.softmax(logits_NV, 1, out=shares[: len(state_ND)])
                own_N[part] = share_NV.gather(1, target_N[part, None])[:, 0]
                if ups:
                    weight_NV = share_NV if cast == exact else row_NV.copy_(share_NV)
                    ups[0][part] = weight_NV @ table
                    if cast == exact:
                        ups[1].addmm_(weight_NV.T, state_ND)
                    else:
                        ups[1] += weight_NV.T @ state_ND
                    if bias_V is not None:
                        ups[2] += share_NV.sum(0)
            total = -own_N.log().sum()
            faint_N = own_N < _FAINT
            if faint_N.any():
                far = states[faint_N], target_N[faint_N], table, bias_V
                total = _far_cost(*far, chunk) - own_N[~faint_N].log().sum()
            if ups:
                ups[0] -= table[target_N]
                ups[1].index_add_(0, target_N, states.to(exact), alpha=-1)
                ups[2] -= torch.bincount(target_N, minlength=table.shape[0])
        ctx.save_for_backward(*ups)
        return total

    @staticmethod
    def backward(ctx: Any, *up: Tensor) -> tuple[Tensor | None, ...]:
        states, table, bias = (
            None if dtype is None else (part * up[0]).to(dtype) for part, dtype in zip(ctx.saved_tensors, ctx.dtypes)
        )
        return states, None, table, bias, None


def _far_cost(states_FD: Tensor, target_F: Tensor, table_VD: Tensor, bias_V: Tensor | None, chunk: int) -> Tensor:
    """The sum of ``-log`` of shares that are too small to tell it, from their logits."""
    exact = torch.promote_types(torch.float32, states_FD.dtype)
    total = states_FD.new_zeros((), dtype=exact)
    for state_FD, asked_F in zip(states_FD.split(chunk), target_F.split(chunk)):
        logits_FV = (state_FD @ table_VD.T).to(exact)
        if bias_V is not None:
            logits_FV += bias_V
        total += (logits_FV.logsumexp(1) - logits_FV.gather(1, asked_F[:, None])[:, 0]).sum()
    return total
