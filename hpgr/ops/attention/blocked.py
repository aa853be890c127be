"""``attention`` by blocks of queries against the keys they may read, with a backward that computes the weights again.

Memory is linear in the length of a row: queries, keys, values and one block. Source: the recomputation is that of Dao et
al., NeurIPS 2022, arXiv:2205.14135; the blocks are wide, since a large product is what a CPU does best.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpgr.core.errors import UnsupportedError
from hpgr.ops.attention.block_bias import BlockwiseBias
from hpgr.ops.attention.group_blocks import GroupBlocks
from hpgr.ops.attention.mask_rule import MaskRule
from hpgr.ops.attention.row_groups import RowGroup, row_groups
from hpgr.ops.weighing import Weighing


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockSizes:
    """``queries`` of a block; ``numbers`` that one block of scores should hold over all rows and heads of a group;
    ``run`` of keys that are skipped together."""

    queries: int = 128
    numbers: int = 1 << 19
    run: int = 64


def attention_blocked(
    q_THK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    offsets_B1: Tensor,
    rule: MaskRule,
    weighing: Weighing,
    sizes: BlockSizes | None = None,
) -> Tensor:
    """See ``attention``.

    Raises: UnsupportedError for a bias without tables.
    """
    bias = weighing.bias
    if bias is not None and not isinstance(bias, BlockwiseBias):
        raise UnsupportedError(f"bias ({type(bias).__name__}) must tell its tables for impl blocked; use vectorised")
    plan = _Plan(offsets_B1, rule, weighing, bias, sizes or BlockSizes())
    k_THK, v_THK = k_THK.to(q_THK.dtype), v_THK.to(q_THK.dtype)
    out: Tensor = _Blocked.apply(q_THK, k_THK, v_THK, plan, *(bias.tables() if bias is not None else ()))
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    offsets_B1: Tensor
    rule: MaskRule
    weighing: Weighing
    bias: BlockwiseBias | None
    sizes: BlockSizes

    def groups(self, heads: int) -> Iterator[tuple[RowGroup, GroupBlocks]]:
        # A row's block of queries against all its keys is what must fit.
        for group in row_groups(self.offsets_B1, numbers=max(1, self.sizes.numbers // (heads * self.sizes.queries))):
            yield group, GroupBlocks(group, self.rule, self.weighing, self.bias, self.sizes)


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, plan: _Plan, *tables: Tensor) -> Tensor:
        ctx.save_for_backward(q_THK, k_THK, v_THK, *tables)
        ctx.plan = plan
        out_SHV = v_THK.new_empty(v_THK.shape[0] + 1, *v_THK.shape[1:])
        for group, blocks in plan.groups(q_THK.shape[1]):
            q, k, v = (group.heads(x) for x in (q_THK, k_THK, v_THK))
            group.put(blocks.forward(q, k, v), out_SHV)
        return out_SHV[:-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream_THV: Tensor) -> tuple[Tensor | None, ...]:
        q_THK, k_THK, v_THK, *tables = ctx.saved_tensors
        grads = [x.new_empty(x.shape[0] + 1, *x.shape[1:]) for x in (q_THK, k_THK, v_THK)]
        wanted = any(ctx.needs_input_grad[4:])
        table_grads = tuple(torch.zeros_like(table) for table in tables) if wanted else ()
        for group, blocks in ctx.plan.groups(q_THK.shape[1]):
            q, k, v, upstream = (group.heads(x) for x in (q_THK, k_THK, v_THK, upstream_THV))
            for grad, into in zip(blocks.backward((q, k, v), upstream, table_grads), grads):
                group.put(grad, into)
        return (*(grad[:-1] for grad in grads), None, *(table_grads or (None,) * len(tables)))
