"""A bias for how much came between a query and a key, where what counts as much is read from their scores.

Source: Yuan, Cai & Dong, WWW companion 2025, arXiv:2502.09027 (``dissimilar``); Golovneva et al., 2024, arXiv:2405.18719
(``similar``). Departs: what a query does not see counts for nothing; the published code counts it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from torch import Tensor

from hpgr.core.errors import UnknownNameError
from hpgr.ops.choice import chosen
from hpgr.ops.contextual_bias.reference import contextual_bias_reference
from hpgr.ops.contextual_bias.vectorised import contextual_bias_vectorised

__all__ = ["IMPLEMENTATIONS", "Counts", "check_counts", "contextual_bias"]

IMPLEMENTATIONS = {
    "reference": contextual_bias_reference,
    "vectorised": contextual_bias_vectorised,
    # No shape in it depends on a value.
    "fixed": contextual_bias_vectorised,
}
Counts: TypeAlias = Literal["dissimilar", "similar"]


def contextual_bias(
    place_QP: Tensor, scores_QJ: Tensor, visible_QJ: Tensor, *, counts: Counts = "dissimilar", impl: str = "auto"
) -> Tensor:
    """``[..., Q, J]``, to be added to the scores ``[..., Q, J]`` of keys from the oldest to the newest.

    Each visible key counts ``g = sigmoid(-score)``, or ``sigmoid(score)`` where ``counts`` is ``similar``. A key lies at
    ``p``, the sum over itself and all newer keys that the query sees, at most ``P - 1``; the bias is ``place [..., Q, P]``
    at ``p``, interpolated between the two whole numbers round it. ``visible`` bool broadcasts to the scores; where it is
    False the bias means nothing. Sums are of single precision at least. Gradients reach the places, and the scores
    through ``p`` below ``P - 1``; at a whole number the slope is that towards the next one.

    Raises: ValueError for shapes that do not fit; UnknownNameError for ``counts`` or an implementation that do not exist.
    """
    check_counts(counts)
    if place_QP.shape[:-1] != scores_QJ.shape[:-1] or not place_QP.shape[-1]:
        raise ValueError(
            f"place {tuple(place_QP.shape)} must have the queries of scores {tuple(scores_QJ.shape)} and a place or more"
        )
    sign = -1.0 if counts == "dissimilar" else 1.0
    return IMPLEMENTATIONS[chosen(impl, IMPLEMENTATIONS)](place_QP, scores_QJ, visible_QJ, sign)


def check_counts(counts: str) -> None:
    """Raises: UnknownNameError unless keys can count so."""
    if counts not in get_args(Counts):
        raise UnknownNameError.of("way to count", counts, get_args(Counts))
