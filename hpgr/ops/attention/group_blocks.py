"""Forward and backward of one group of rows, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hpgr.ops.attention.block_bias import BlockBias, BlockwiseBias
from hpgr.ops.attention.block_weights import Scratch, block_weights
from hpgr.ops.attention.mask_rule import MaskRule
from hpgr.ops.attention.row_groups import RowGroup
from hpgr.ops.attention.sight import Sight
from hpgr.ops.weighing import Weighing

if TYPE_CHECKING:
    from hpgr.ops.attention.blocked import BlockSizes


class GroupBlocks:
    """Tensors are ``[n, L, …]`` with ``n = b * H``; the score of a pair is recomputed wherever it is needed."""

    def __init__(
        self, group: RowGroup, rule: MaskRule, weighing: Weighing, bias: BlockwiseBias | None, sizes: BlockSizes
    ) -> None:
        self._weights = block_weights(weighing.kind)
        self._sight = Sight(rule, group, hide_padding=not self._weights.in_parts, run=sizes.run)
        self._bias = None if bias is None else bias.among(group.index_bL)
        self._rows, self._length, self._sizes, self._scale = (
            group.index_bL.shape[0],
            group.length,
            sizes,
            weighing.scale,
        )
        self._factor = 1 / weighing.divisor if weighing.kind == "silu" else 1.0

    def forward(self, q_nLK: Tensor, k_nLK: Tensor, v_nLV: Tensor) -> Tensor:
        """``[n, L, V]``; overwrites ``q``."""
        q_nLK.mul_(self._scale)
        out_nLV, (scratch, products) = torch.empty_like(v_nLV), self._scratch(q_nLK, v_nLV, 1)
        for queries, keys, first in self._blocks(q_nLK.shape[0]):
            scores_nQJ, _ = self._scores(q_nLK, k_nLK, queries, keys, scratch)
            weights_nQJ = self._weights.forward(scores_nQJ, self._sight.hidden(queries, keys))
            _add_product(out_nLV[:, queries], weights_nQJ, v_nLV[:, keys], products, first=first)
        return out_nLV.mul_(self._factor)

    def backward(
        self, qkv: tuple[Tensor, Tensor, Tensor], upstream_nLV: Tensor, table_grads: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of q, k and v; those of the tables are added. Overwrites ``q`` and ``upstream``."""
        q_nLK, k_nLK, v_nLV = qkv
        q_nLK.mul_(self._scale)
        upstream_nLV.mul_(self._factor)
        grad_q, grad_k, grad_v = torch.empty_like(q_nLK), torch.zeros_like(k_nLK), torch.zeros_like(v_nLV)
        scratch, products = self._scratch(q_nLK, v_nLV, self._weights.num_blocks)
        for queries, keys, first in self._blocks(q_nLK.shape[0]):
            scores_nQJ, bias = self._scores(q_nLK, k_nLK, queries, keys, scratch)
            read_nQJ, spare_nQJ = (self._like(scores_nQJ, which, scratch) for which in (1, 2))
            torch.bmm(upstream_nLV[:, queries], v_nLV[:, keys].transpose(1, 2), out=read_nQJ)
            hidden = self._sight.hidden(queries, keys)
            weights_nQJ, grad_nQJ = self._weights.backward(scores_nQJ, read_nQJ, spare_nQJ, hidden)
            _add_product(grad_v[:, keys], weights_nQJ.transpose(1, 2), upstream_nLV[:, queries], products, first=False)
            _add_product(grad_k[:, keys], grad_nQJ.transpose(1, 2), q_nLK[:, queries], products, first=False)
            _add_product(grad_q[:, queries], grad_nQJ, k_nLK[:, keys], products, first=first)
            if bias is not None and table_grads:
                bias.collect(grad_nQJ.view(self._rows, -1, *grad_nQJ.shape[1:]).sum(1), table_grads)
        return grad_q.mul_(self._scale), grad_k, grad_v

    def _scratch(self, q_nLK: Tensor, v_nLV: Tensor, count: int) -> tuple[Scratch, Scratch]:
        """For ``count`` blocks of pairs, and for one product of them."""
        queries = min(self._length, self._sizes.queries)
        keys = min(self._length, self._part(q_nLK.shape[0])) if self._weights.in_parts else self._length
        widest = max(q_nLK.numel(), v_nLV.numel())
        return Scratch(q_nLK, count, q_nLK.shape[0] * queries * (keys + 16)), Scratch(q_nLK, 1, widest)

    def _part(self, n: int) -> int:
        """How many keys at once, for any of the blocks of queries."""
        return max(self._sizes.run, self._sizes.numbers // (n * self._sizes.queries))

    def _blocks(self, n: int) -> Iterator[tuple[slice, slice, bool]]:
        """``(queries, keys, first part of these queries)``."""
        for start in range(0, self._length, self._sizes.queries):
            stop = min(self._length, start + self._sizes.queries)
            low, high = self._sight.keys(start, stop)
            part = self._part(n) if self._weights.in_parts else high - low
            for key in range(low, high, part):
                yield slice(start, stop), slice(key, min(high, key + part)), key == low

    def _scores(
        self, q_nLK: Tensor, k_nLK: Tensor, queries: slice, keys: slice, scratch: Scratch
    ) -> tuple[Tensor, BlockBias | None]:
        shape = (q_nLK.shape[0], queries.stop - queries.start, keys.stop - keys.start)
        scores_nQJ = scratch.block(0, shape, apart=self._weights.in_parts)
        torch.bmm(q_nLK[:, queries], k_nLK[:, keys].transpose(1, 2), out=scores_nQJ)
        if self._bias is None:
            return scores_nQJ, None
        bias = self._bias.block(queries, keys)
        scores_nQJ.view(self._rows, -1, *shape[1:]).add_(bias.values[:, None])
        return scores_nQJ, bias

    def _like(self, x_nQJ: Tensor, which: int, scratch: Scratch) -> Tensor:
        n, queries, keys = x_nQJ.shape
        return scratch.block(which, (n, queries, keys), apart=self._weights.in_parts)


def _add_product(into: Tensor, left: Tensor, right: Tensor, scratch: Scratch, *, first: bool) -> None:
    # The library multiplies a batch at once only where the result is contiguous.
    product = scratch.block(0, (into.shape[0], into.shape[1], into.shape[2]), apart=False)
    torch.bmm(left, right, out=product)
    if first:
        into.copy_(product)
    else:
        into.add_(product)
