"""Cross-entropy over a catalogue so long that not even a few rows of scores should be whole: blocks of predictions and items.

One pass over the blocks finds each prediction's normaliser (a running maximum and a running sum); the backward pass makes
the scores again, when the incoming gradient is known, so that nothing of the table's size is kept between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Scores in a block, and predictions in it at most: what a processor's outer cache holds, what fills a device. Smaller blocks
# are a little faster on a processor that has nothing else to do, and slow where threads must wait for each other.
_ON_CPU, _ON_DEVICE = (2**21, 512), (2**25, 4096)


class BlockedCost(torch.autograd.Function):
    """Sum over predictions of ``-log softmax(states @ table.T + bias)[target]``.

    With p the shares and y the targets: ∂s = (p - y) W, ∂W = (p - y)ᵀ s, ∂b = Σ (p - y).
    """

    @staticmethod
    def forward(ctx: Any, states_ND: Tensor, target_N: Tensor, table_VD: Tensor, bias_V: Tensor | None) -> Tensor:
        kind = states_ND.device.type
        ctx.cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else table_VD.dtype
        exact = torch.promote_types(torch.float32, states_ND.dtype)
        with torch.autocast(kind, enabled=False):
            states = states_ND.to(ctx.cast)
            top_N = states_ND.new_full(target_N.shape, -torch.inf, dtype=exact)
            sum_N = torch.zeros_like(top_N)
            for rows, _, scores in _blocks(states, table_VD, bias_V, exact):
                top = torch.maximum(top_N[rows], scores.amax(1))
                # Scores are the block's own memory: what is changed in place is not read again.
                fresh = scores.sub_(top[:, None]).exp_().sum(1)
                sum_N[rows] = sum_N[rows] * (top_N[rows] - top).exp() + fresh
                top_N[rows] = top
            norm_N = top_N + sum_N.log()
            own_N = (states.to(exact) * table_VD[target_N].to(ctx.cast).to(exact)).sum(1).to(ctx.cast).to(exact)
            if bias_V is not None:
                own_N += bias_V[target_N]
        ctx.save_for_backward(states_ND, target_N, table_VD, bias_V, norm_N)
        return (norm_N - own_N).sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor | None, ...]:
        states_ND, target_N, table_VD, bias_V, norm_N = ctx.saved_tensors
        wants_states, _, wants_table, wants_bias = ctx.needs_input_grad
        states = states_ND.to(ctx.cast)
        to_states = torch.zeros_like(states_ND, dtype=norm_N.dtype)
        to_table = torch.zeros_like(table_VD, dtype=norm_N.dtype) if wants_table else None
        to_bias = torch.zeros_like(bias_V, dtype=norm_N.dtype) if wants_bias and bias_V is not None else None
        with torch.autocast(states.device.type, enabled=False):
            for rows, items, scores in _blocks(states, table_VD, bias_V, norm_N.dtype):
                share = scores.sub_(norm_N[rows, None]).exp_()
                if to_bias is not None:
                    to_bias[items] += share.sum(0)
                low = share.to(ctx.cast)
                if wants_states:
                    _add_product(to_states[rows], low, table_VD[items].to(ctx.cast))
                if to_table is not None:
                    _add_product(to_table[items], low.T, states[rows])
            if wants_states:
                to_states -= table_VD[target_N].to(norm_N.dtype)
            if to_table is not None:
                to_table.index_add_(0, target_N, states.to(norm_N.dtype), alpha=-1)
            if to_bias is not None:
                to_bias.index_add_(0, target_N, torch.ones_like(norm_N), alpha=-1)
            for part in (to_states, to_table, to_bias):
                if part is not None:
                    part.mul_(up)
        return (
            to_states.to(states_ND.dtype),
            None,
            None if to_table is None else to_table.to(table_VD.dtype),
            None if to_bias is None or bias_V is None else to_bias.to(bias_V.dtype),
        )


def _blocks(
    states: Tensor, table_VD: Tensor, bias_V: Tensor | None, exact: torch.dtype
) -> Iterator[tuple[slice, slice, Tensor]]:
    """``(predictions, items, scores)`` of each block; the scores stand until the next is asked for."""
    room, most_rows = _ON_CPU if states.device.type == "cpu" else _ON_DEVICE
    num_rows, num_items = states.shape[0], table_VD.shape[0]
    height = min(num_rows, most_rows)
    width = max(1, room // height)
    memory = states.new_empty(height * min(width, num_items))
    for start in range(0, num_items, width):
        items = slice(start, min(start + width, num_items))
        vectors = table_VD[items].to(states.dtype)
        for first in range(0, num_rows, height):
            rows = slice(first, min(first + height, num_rows))
            shape = (rows.stop - first, items.stop - start)
            out = memory[: shape[0] * shape[1]].view(shape)
            scores = torch.mm(states[rows], vectors.T, out=out).to(exact)
            if bias_V is not None:
                scores += bias_V[items]
            yield rows, items, scores


def _add_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """``out += left @ right``, without a place of its own where the types allow."""
    if out.dtype == left.dtype:
        out.addmm_(left, right)
    else:
        out += left @ right
