"""``block_attention`` by batched products, some blocks at a time; weights are worked out again in the backward pass."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from hpgr.core.jagged import position_in_row, row_of
from hpgr.ops.weighing import Weighing

# Gathered keys at once, in numbers: with their values and weights they fit a core's cache.
_NUMBERS = 1 << 17
_DTYPES = (torch.float32, torch.float64)


def block_attention_vectorised(
    q_NHK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    offsets_P1: Tensor,
    lists: tuple[Tensor, Tensor],
    weighing: Weighing,
) -> Tensor:
    """See ``block_attention``."""
    if not q_NHK.shape[0] or not k_THK.shape[0] or not lists[0].numel():
        return v_THK.new_zeros((q_NHK.shape[0], *v_THK.shape[1:]))
    q, k, v = (x if x.dtype in _DTYPES else x.float() for x in (q_NHK, k_THK, v_THK))
    blocks = _Blocks(offsets_P1, *lists, num_heads=q.shape[1])
    with torch.autocast(q.device.type, enabled=False):
        read = _BlockReading.apply(q * weighing.scale, k, v, blocks)
        return (read / weighing.divisor).to(v_THK.dtype)


class _Blocks:
    """Queries padded to the longest block: ``slot_N`` is the place of query ``n`` among ``P * Q``."""

    def __init__(self, offsets_P1: Tensor, rows_PW: Tensor, visible_NW: Tensor, *, num_heads: int) -> None:
        count, (num_blocks, width) = visible_NW.shape[0], rows_PW.shape
        self.num_heads, self.width, self.size = num_heads, width, int(offsets_P1.diff().max())
        self.slot_N = row_of(offsets_P1, count) * self.size + position_in_row(offsets_P1, count)
        self.rows_PW, self.num_blocks = rows_PW, num_blocks
        hidden = torch.zeros(num_blocks * self.size, width, dtype=torch.bool, device=rows_PW.device)
        shown_NW = visible_NW & (rows_PW >= 0).repeat_interleave(offsets_P1.diff(), 0, output_size=count)
        self.visible_P1QW = hidden.index_copy(0, self.slot_N, shown_NW).view(num_blocks, 1, self.size, width)

    def padded(self, x_NHK: Tensor) -> Tensor:
        """``[P, H, Q, K]``."""
        padded = x_NHK.new_zeros((self.num_blocks * self.size, *x_NHK.shape[1:])).index_copy(0, self.slot_N, x_NHK)
        return padded.view(self.num_blocks, self.size, *x_NHK.shape[1:]).transpose(1, 2)

    def unpadded(self, x_PHQK: Tensor) -> Tensor:
        """``[N, H, K]``."""
        return x_PHQK.transpose(1, 2).flatten(0, 1).index_select(0, self.slot_N)

    def parts(self, dim: int) -> Iterator[slice]:
        step = max(1, _NUMBERS // (self.width * self.num_heads * dim))
        for start in range(0, self.num_blocks, step):
            yield slice(start, start + step)

    def gathered(self, x_THK: Tensor, part: slice) -> Tensor:
        """``[p, H, W, K]``: what the blocks of a part list."""
        rows_pW = self.rows_PW[part].clamp(min=0)
        found = x_THK.flatten(1).index_select(0, rows_pW.flatten())
        return found.view(*rows_pW.shape, *x_THK.shape[1:]).transpose(1, 2).contiguous()

    def scattered(self, x_PWHK: Tensor, num_rows: int) -> Tensor:
        """``[T, H, K]``: the sum over all places where a row is listed."""
        flat = self.rows_PW.flatten()
        order = flat.argsort()
        starts = torch.searchsorted(flat[order], torch.arange(num_rows + 1, device=flat.device))
        # Places before the first start list nothing.
        summed = F.embedding_bag(
            order[starts[0] :],
            x_PWHK.flatten(0, 1).flatten(1),
            starts - starts[0],
            mode="sum",
            include_last_offset=True,
        )
        return summed.view(num_rows, *x_PWHK.shape[2:])


class _BlockReading(torch.autograd.Function):
    """``sum_j silu(q·k_j) v_j`` over the visible rows of each block's list."""

    @staticmethod
    def forward(ctx: FunctionCtx, q_NHK: Tensor, k_THK: Tensor, v_THK: Tensor, blocks: _Blocks) -> Tensor:
        ctx.save_for_backward(q_NHK, k_THK, v_THK)
        ctx.blocks = blocks  # type: ignore[attr-defined]
        q_PHQK = blocks.padded(q_NHK)
        read = q_NHK.new_empty((*q_PHQK.shape[:3], v_THK.shape[2]))
        for part in blocks.parts(k_THK.shape[2]):
            weights = F.silu(q_PHQK[part] @ blocks.gathered(k_THK, part).transpose(2, 3), inplace=True)
            torch.matmul(weights.mul_(blocks.visible_P1QW[part]), blocks.gathered(v_THK, part), out=read[part])
        return blocks.unpadded(read)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, up_NHV: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (q_NHK, k_THK, v_THK), blocks = ctx.saved_tensors, ctx.blocks  # type: ignore[attr-defined]
        q_PHQK, up_PHQV = blocks.padded(q_NHK), blocks.padded(up_NHV)
        to_q = torch.empty_like(q_PHQK, memory_format=torch.contiguous_format)
        to_k, to_v = (x.new_empty((blocks.num_blocks, blocks.width, *x.shape[1:])) for x in (k_THK, v_THK))
        # A backward pass inside autocast would multiply in its type.
        with torch.autocast(q_NHK.device.type, enabled=False):
            for part in blocks.parts(k_THK.shape[2]):
                k, v, visible = blocks.gathered(k_THK, part), blocks.gathered(v_THK, part), blocks.visible_P1QW[part]
                scores = q_PHQK[part] @ k.transpose(2, 3)
                share = scores.sigmoid()
                weights = (scores * share).mul_(visible)
                to_v[part] = (weights.transpose(2, 3) @ up_PHQV[part]).transpose(1, 2)
                # The slope of silu: s + w (1 - s).
                slope = torch.addcmul(share, weights, 1 - share).mul_(visible)
                to_scores = (up_PHQV[part] @ v.transpose(2, 3)).mul_(slope)
                to_q[part] = to_scores @ k
                to_k[part] = (to_scores.transpose(2, 3) @ q_PHQK[part]).transpose(1, 2)
        num_rows = k_THK.shape[0]
        return blocks.unpadded(to_q), blocks.scattered(to_k, num_rows), blocks.scattered(to_v, num_rows), None
