"""Attention of each row's events to one another, with pointwise (silu) or softmax weights, over jagged rows.

Source: Zhai et al., ICML 2024, arXiv:2402.17152, equations 1–2 (silu, constant normaliser); Vaswani et al., NeurIPS
2017, arXiv:1706.03762 (softmax).
"""

from __future__ import annotations

from torch import Tensor

from hpgr.core.jagged import shapes_are_fixed
from hpgr.ops.attention.block_bias import BlockwiseBias
from hpgr.ops.attention.blocked import attention_blocked
from hpgr.ops.attention.fixed import attention_fixed
from hpgr.ops.attention.fused import attention_fused, can_fuse
from hpgr.ops.attention.mask_rule import MaskRule
from hpgr.ops.attention.reference import attention_reference
from hpgr.ops.attention.triton import attention_triton
from hpgr.ops.attention.vectorised import attention_vectorised
from hpgr.ops.choice import chosen
from hpgr.ops.kernels.support import chooses_triton
from hpgr.ops.weighing import Kind, PairBias, ScoreBias, Weighing, check_context, check_heads, check_offsets

__all__ = ["IMPLEMENTATIONS", "MaskRule", "PairBias", "ScoreBias", "attention", "implementation_for"]

IMPLEMENTATIONS = {
    "reference": attention_reference,
    "vectorised": attention_vectorised,
    "blocked": attention_blocked,
    "fused": attention_fused,
    "fixed": attention_fixed,
    "triton": attention_triton,
}


def attention(  # noqa: PLR0913 - tensors and the options that define the weights
    q_THK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    offsets_B1: Tensor,
    *,
    weights: Kind,
    rule: MaskRule,
    normaliser: float | None = None,
    scale: float = 1.0,
    bias: PairBias | None = None,
    context: ScoreBias | None = None,
    impl: str = "auto",
) -> Tensor:
    """``[T, H, V]``: the sum over the events ``j`` of one's own row that ``rule`` shows, of weight ``A_ij`` times
    ``v_j``.

    ``silu``: ``A = silu(scale * q·k + bias) / normaliser``, and exactly 0 for what is hidden. ``softmax``: over what is
    visible; ``normaliser`` must be None. A query that sees nothing gets zeros. The width of ``v`` may differ from
    ``k``'s. ``context`` adds to the scores what it reads from all scores of a query; then all pairs of a row are held in
    memory. The normaliser is a constant: the result does not depend on padding, on the row's length or on other rows.

    Raises: ValueError for shapes that do not fit; ConfigError for a normaliser that the weights forbid;
    UnknownNameError for weights or an implementation that do not exist; UnsupportedError for a named implementation
    that does not know these weights, this rule, this bias or a context.
    """
    check_heads(q_THK, k_THK, v_THK, same_rows=True)
    check_offsets("offsets", offsets_B1, q_THK.shape[0])
    rule.check(q_THK.shape[0])
    weighing = Weighing(kind=weights, normaliser=normaliser, scale=scale, bias=bias, context=context)
    if impl == "auto":
        impl = implementation_for(q_THK, v_THK, weights=weights, rule=rule, bias=bias, context=context)
    check_context(context, impl)
    return IMPLEMENTATIONS[chosen(impl, IMPLEMENTATIONS)](q_THK, k_THK, v_THK, offsets_B1, rule, weighing)


def implementation_for(
    q_THK: Tensor,
    v_THK: Tensor,
    *,
    weights: Kind,
    rule: MaskRule,
    bias: PairBias | None,
    context: ScoreBias | None = None,
) -> str:
    """What ``auto`` runs: on a CPU the fused kernel where it applies, else blocks; on CUDA Triton where ``HPGR_TRITON=1``;
    inside ``fixed_shapes`` the square of all events."""
    if shapes_are_fixed():
        return chosen("auto", IMPLEMENTATIONS)
    if context is not None:
        return "vectorised"
    if q_THK.device.type != "cpu":
        return chosen("auto", IMPLEMENTATIONS, triton=chooses_triton(q_THK, bias))
    if can_fuse(weights, rule, bias) and q_THK.shape[2] == v_THK.shape[2]:
        return "fused"
    return "blocked" if bias is None or isinstance(bias, BlockwiseBias) else "vectorised"
