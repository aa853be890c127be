"""Attention of candidates to their user's history and to themselves, never to one another.

Source: M-FALCON, Zhai et al., ICML 2024, arXiv:2402.17152, section 3.4 (joint scoring of candidates);
Chen et al., WWW 2026, arXiv:2603.00980 (lists and gates). Departs: the additive gate is ours.
"""

from __future__ import annotations

from torch import Tensor

from hpgr.ops.candidate_attention.fixed import candidate_attention_fixed
from hpgr.ops.candidate_attention.reading import Boost, Listed, Reading
from hpgr.ops.candidate_attention.reference import candidate_attention_reference
from hpgr.ops.candidate_attention.triton import candidate_attention_triton
from hpgr.ops.candidate_attention.vectorised import candidate_attention_vectorised
from hpgr.ops.choice import chosen
from hpgr.ops.kernels.support import chooses_triton
from hpgr.ops.weighing import Kind, PairBias, ScoreBias, Weighing, check_context

__all__ = ["IMPLEMENTATIONS", "candidate_attention"]

IMPLEMENTATIONS = {
    "reference": candidate_attention_reference,
    "vectorised": candidate_attention_vectorised,
    "fixed": candidate_attention_fixed,
    "triton": candidate_attention_triton,
}


def candidate_attention(  # noqa: PLR0913 - tensors and the options that define the weights
    q_CHK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    own_k_CHK: Tensor,
    own_v_CHK: Tensor,
    user_offsets_B1: Tensor,
    candidate_offsets_B1: Tensor,
    *,
    weights: Kind,
    normaliser: float | None = None,
    scale: float = 1.0,
    bias: PairBias | None = None,
    context: ScoreBias | None = None,
    listed: Listed | None = None,
    boost: Boost | None = None,
    key_time_T: Tensor | None = None,
    query_time_C: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """``[C, H, V]``: each candidate reads all history of its user, and its own key and value.

    Weights as in ``attention``; ``bias.of`` gets rows of candidates and of history, ``bias.own`` rows of candidates.
    ``listed`` ``(rows_CW, gate_CW)``: the candidate reads only these rows of its history, ``A ⊙ G``, as in
    ``listed_attention``. ``boost`` ``(rows_CW, gate_CW, beta_H)``: it reads everything, and the listed rows with
    ``A ⊙ (1 + beta_h G)``; silu weights only. Neither changes the weight of the candidate's own column.
    ``context`` adds to the scores what it reads from all scores of a candidate, its own column being the newest key;
    then listed rows are read among all of the history's.
    ``key_time_T`` and ``query_time_C``: only events strictly before the candidate's time are read.

    Raises: ValueError for shapes that do not fit; ConfigError for options that exclude each other;
    UnknownNameError for weights or an implementation that do not exist; UnsupportedError for one that knows no context.
    """
    reading = Reading(
        q_CHK=q_CHK,
        k_THK=k_THK,
        v_THK=v_THK,
        own_k_CHK=own_k_CHK,
        own_v_CHK=own_v_CHK,
        user_offsets_B1=user_offsets_B1,
        candidate_offsets_B1=candidate_offsets_B1,
        listed=listed,
        boost=boost,
        key_time_T=key_time_T,
        query_time_C=query_time_C,
    )
    weighing = Weighing(kind=weights, normaliser=normaliser, scale=scale, bias=bias, context=context)
    reading.check(weights)
    name = chosen(impl, IMPLEMENTATIONS, triton=context is None and chooses_triton(q_CHK, bias))
    check_context(context, name)
    return IMPLEMENTATIONS[name](reading, weighing)
