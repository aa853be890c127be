"""Pointwise attention of queries in blocks that share a list of rows: what a block reads is gathered once, not once a query.

Source: the listed rows of ``listed_attention``, ours; the weights of Zhai et al., ICML 2024, arXiv:2402.17152.
"""

from __future__ import annotations

from torch import Tensor

from hpgr.ops.block_attention.reference import block_attention_reference
from hpgr.ops.block_attention.vectorised import block_attention_vectorised
from hpgr.ops.choice import chosen
from hpgr.ops.weighing import Weighing, check_heads, check_offsets

__all__ = ["IMPLEMENTATIONS", "block_attention"]

IMPLEMENTATIONS = {"reference": block_attention_reference, "vectorised": block_attention_vectorised}


def block_attention(
    q_NHK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    offsets_P1: Tensor,
    lists: tuple[Tensor, Tensor],
    *,
    normaliser: float,
    scale: float = 1.0,
    impl: str = "auto",
) -> Tensor:
    """``[N, H, V]``: queries ``offsets[p] … offsets[p+1]-1`` read rows of ``k`` and ``v`` from the list of block ``p``.

    ``lists`` ``(rows_PW, visible_NW)``: int64 rows, -1 is nothing; bool, which of its block's list each query reads.
    ``A = silu(scale * q·k) / normaliser``. A row listed twice is read twice.

    Raises: ValueError for shapes that do not fit; ConfigError for a normaliser that is not positive.
    """
    rows_PW, visible_NW = lists
    check_heads(q_NHK, k_THK, v_THK, same_rows=False)
    check_offsets("offsets", offsets_P1, q_NHK.shape[0])
    wanted = (offsets_P1.shape[0] - 1, q_NHK.shape[0])
    if rows_PW.ndim != 2 or visible_NW.shape != (wanted[1], rows_PW.shape[1]) or rows_PW.shape[0] != wanted[0]:
        raise ValueError(
            f"rows {tuple(rows_PW.shape)} and visible {tuple(visible_NW.shape)} must be ({wanted[0]}, W), a list for each "
            f"block, and ({wanted[1]}, W)"
        )
    weighing = Weighing(kind="silu", normaliser=normaliser, scale=scale, bias=None)
    return IMPLEMENTATIONS[chosen(impl, IMPLEMENTATIONS)](
        q_NHK, k_THK, v_THK, offsets_P1, (rows_PW, visible_NW), weighing
    )
