"""The history events that lie nearest to each candidate in a space of vectors.

Source: preference signal identification, Chen et al., WWW 2026, arXiv:2603.00980. Departs: cosine by default.
"""

from __future__ import annotations

from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.ops.choice import chosen
from hpgr.ops.nearest_positions.fixed import nearest_positions_fixed
from hpgr.ops.nearest_positions.reference import nearest_positions_reference
from hpgr.ops.nearest_positions.vectorised import nearest_positions_vectorised
from hpgr.ops.weighing import check_offsets

__all__ = ["IMPLEMENTATIONS", "nearest_positions"]

IMPLEMENTATIONS = {
    "reference": nearest_positions_reference,
    "vectorised": nearest_positions_vectorised,
    "fixed": nearest_positions_fixed,
}


def nearest_positions(
    query_CD: Tensor,
    key_TD: Tensor,
    user_offsets_B1: Tensor,
    candidate_offsets_B1: Tensor,
    k: int,
    *,
    cosine: bool = True,
    impl: str = "auto",
) -> Tensor:
    """``rows_CK`` int64: the ``k`` rows of the candidate's own user with the highest score, best first; then -1.

    The score is the cosine of directions rounded to a grid (``grid.py``; off the cosine by about 1e-4), or the dot product
    in double. Both are compared in single precision, so that equal vectors tie on any machine and in any batch; of a tie
    the later event wins. Without gradient; never a tensor of all candidates by all events.

    Raises: ConfigError if ``k`` is less than 1; ValueError for shapes that do not fit.
    """
    if k < 1:
        raise ConfigError(f"k ({k}) must be at least 1")
    if query_CD.ndim != 2 or key_TD.ndim != 2 or query_CD.shape[1] != key_TD.shape[1]:
        raise ValueError(
            f"query and key must be (C, D) and (T, D); got {tuple(query_CD.shape)} and {tuple(key_TD.shape)}"
        )
    check_offsets("user_offsets", user_offsets_B1, key_TD.shape[0])
    check_offsets("candidate_offsets", candidate_offsets_B1, query_CD.shape[0])
    find = IMPLEMENTATIONS[chosen(impl, IMPLEMENTATIONS)]
    return find(query_CD.detach(), key_TD.detach(), user_offsets_B1, candidate_offsets_B1, k, cosine)
