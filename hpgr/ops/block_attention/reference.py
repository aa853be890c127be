"""The definition of ``block_attention``: a list for each query."""

from __future__ import annotations

from torch import Tensor

from hpgr.core.jagged import row_of
from hpgr.ops.listed_attention.reference import listed_attention_reference
from hpgr.ops.weighing import Weighing


def block_attention_reference(
    q_NHK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    offsets_P1: Tensor,
    lists: tuple[Tensor, Tensor],
    weighing: Weighing,
) -> Tensor:
    """See ``block_attention``."""
    rows_PW, visible_NW = lists
    rows_NW = rows_PW[row_of(offsets_P1, q_NHK.shape[0])].masked_fill(~visible_NW, -1)
    return listed_attention_reference(q_NHK, k_THK, v_THK, rows_NW, visible_NW.to(q_NHK.dtype), weighing)
