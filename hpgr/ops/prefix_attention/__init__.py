"""Attention of tokens that follow an event: to their user's events up to a place, and to the tokens of their own chain.

Source: decoding with kept keys and values, as in Tang et al., 2025, arXiv:2503.22675, one token of each chain at a time.
"""

from __future__ import annotations

from torch import Tensor

from hpgr.ops.choice import chosen
from hpgr.ops.prefix_attention.reading import PrefixReading
from hpgr.ops.prefix_attention.reference import prefix_attention_reference
from hpgr.ops.prefix_attention.vectorised import prefix_attention_vectorised
from hpgr.ops.weighing import Kind, PairBias, Weighing

__all__ = ["IMPLEMENTATIONS", "prefix_attention"]

IMPLEMENTATIONS = {"reference": prefix_attention_reference, "vectorised": prefix_attention_vectorised}


def prefix_attention(  # noqa: PLR0913 - tensors and the options that define the weights
    q_NHK: Tensor,
    k_THK: Tensor,
    v_THK: Tensor,
    own_k_NJHK: Tensor,
    own_v_NJHV: Tensor,
    user_offsets_B1: Tensor,
    query_offsets_B1: Tensor,
    stop_N: Tensor,
    *,
    weights: Kind,
    normaliser: float | None = None,
    scale: float = 1.0,
    bias: PairBias | None = None,
    own_bias_J: Tensor | None = None,
    impl: str = "auto",
) -> Tensor:
    """``[N, H, V]``: query ``n`` reads the events of its user before row ``stop_N[n]`` of all events, and its own ``J`` columns.

    Weights as in ``attention``, softmax over both together; ``bias.of`` gets rows of queries and of events, ``own_bias_J`` is
    added to the scores of the own columns. Queries of a user lie side by side, as ``query_offsets_B1`` tells.

    Raises: ValueError for shapes that do not fit; ConfigError for a normaliser that the weights forbid; UnknownNameError for
    weights or an implementation that do not exist.
    """
    reading = PrefixReading(
        q_NHK=q_NHK,
        k_THK=k_THK,
        v_THK=v_THK,
        own_k_NJHK=own_k_NJHK,
        own_v_NJHV=own_v_NJHV,
        user_offsets_B1=user_offsets_B1,
        query_offsets_B1=query_offsets_B1,
        stop_N=stop_N,
        own_bias_J=own_bias_J,
    )
    reading.check()
    weighing = Weighing(kind=weights, normaliser=normaliser, scale=scale, bias=bias)
    return IMPLEMENTATIONS[chosen(impl, IMPLEMENTATIONS)](reading, weighing)
