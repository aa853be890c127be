"""Attention of queries that each read a list of rows, with a gate on every entry; no square and no padding to a user.

Source: the sparse candidate rows of Chen et al., WWW 2026, arXiv:2603.00980. Departs: lists and gates are the caller's.
"""

from __future__ import annotations

from torch import Tensor

from hpgr.ops.choice import chosen
from hpgr.ops.kernels.support import chooses_triton
from hpgr.ops.listed_attention.entries import Lists
from hpgr.ops.listed_attention.reference import listed_attention_reference
from hpgr.ops.listed_attention.triton import listed_attention_triton
from hpgr.ops.listed_attention.vectorised import listed_attention_vectorised
from hpgr.ops.weighing import Kind, PairBias, Weighing, check_heads

__all__ = ["IMPLEMENTATIONS", "Lists", "listed_attention"]

IMPLEMENTATIONS = {
    "reference": listed_attention_reference,
    "vectorised": listed_attention_vectorised,
    "triton": listed_attention_triton,
}


def listed_attention(  # noqa: PLR0913 - tensors and the options that define the weights
    q_NHK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    rows_NW: Tensor,
    gate_NW: Tensor,
    *,
    weights: Kind,
    normaliser: float | None = None,
    scale: float = 1.0,
    bias: PairBias | None = None,
    impl: str = "auto",
) -> Tensor:
    """``[N, H, V]``: query ``n`` reads the rows ``rows_NW[n]`` of ``k`` and ``v``, int64 in ``0 … T-1``; -1 is nothing.

    ``silu``: ``A = silu(scale * q·k + bias) / normaliser * gate``. ``softmax``: over the list, with ``log gate`` added
    to the scores; a gate of 0 or less hides the row; ``normaliser`` must be None. A query with nothing to read gets
    zeros. Gradients reach the gate. A row listed twice is read twice.

    Raises: ValueError for shapes that do not fit; ConfigError for a normaliser that the weights forbid;
    UnknownNameError for weights or an implementation that do not exist.
    """
    check_heads(q_NHK, k_THK, v_THK, same_rows=False)
    check_list("rows", q_NHK.shape[0], rows_NW, gate_NW)
    weighing = Weighing(kind=weights, normaliser=normaliser, scale=scale, bias=bias)
    name = chosen(impl, IMPLEMENTATIONS, triton=chooses_triton(q_NHK, bias))
    return IMPLEMENTATIONS[name](q_NHK, k_THK, v_THK, rows_NW, gate_NW, weighing)


def check_list(name: str, num_queries: int, rows_NW: Tensor, gate_NW: Tensor) -> None:
    """Raises: ValueError unless rows and gate are ``(N, W)``."""
    if rows_NW.ndim != 2 or rows_NW.shape != gate_NW.shape or rows_NW.shape[0] != num_queries:
        raise ValueError(
            f"{name} {tuple(rows_NW.shape)} and gate {tuple(gate_NW.shape)} must both be ({num_queries}, W), "
            "a list for each query"
        )
