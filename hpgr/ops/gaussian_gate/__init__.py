"""A soft mask round chosen history events, as short lists instead of a row over the whole history.

Source: Gaussian attention mask, Chen et al., WWW 2026, arXiv:2603.00980. Departs: the floor, which makes it sparse, the
clipped sum and the weights are ours.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import shapes_are_fixed
from hpgr.ops.choice import chosen
from hpgr.ops.gaussian_gate.bump import Bump
from hpgr.ops.gaussian_gate.fixed import gaussian_gate_fixed
from hpgr.ops.gaussian_gate.reference import gaussian_gate_reference
from hpgr.ops.gaussian_gate.vectorised import gaussian_gate_vectorised

__all__ = ["IMPLEMENTATIONS", "gaussian_gate", "radius"]

IMPLEMENTATIONS = {
    "reference": gaussian_gate_reference,
    "vectorised": gaussian_gate_vectorised,
    "fixed": gaussian_gate_fixed,
}


def gaussian_gate(  # noqa: PLR0913 - tensors and the options that define the gate
    rows_CK: Tensor,
    weight_CK: Tensor,
    user_offsets_B1: Tensor,
    *,
    sigma: float | Tensor,
    floor: float = 0.01,
    aggregate: Literal["sum", "max"] = "sum",
    session_T: Tensor | None = None,
    num_rows: int | None = None,
    impl: str = "auto",
) -> tuple[Tensor, Tensor]:
    """``(rows_CW, gate_CW)``: the rows round the centres ``rows_CK`` (-1: none) and their gates, rising, then -1 and 0.

    ``G_jk = min(1, sum over centres m of w_jm exp(-(k - m)^2 / (2 sigma^2)))``, or the maximum instead of the sum;
    ``k`` and ``m`` are rows of one user (``user_offsets_B1``) and, where ``session_T`` is given, of one session. What
    is below ``floor`` is left out, so a candidate lists at most ``K (2 radius + 1)`` rows, each once. ``weight_CK`` in
    [0, 1]. ``sigma`` 0: the centres alone, gates as the weights; infinite: the whole history. Gradients reach
    ``weight_CK`` and a tensor ``sigma`` through the gates of the listed rows. ``num_rows``: rows of all users, for
    ``fixed_shapes``, where they cannot be read off the offsets; there a list has gaps, -1 and 0.

    Raises: ConfigError for a floor outside (0, 1], a negative ``sigma`` or an unknown ``aggregate``; ValueError for
    shapes that do not fit.
    """
    # A trained width has no value while shapes are fixed, and nothing there depends on it.
    unknown = isinstance(sigma, Tensor) and shapes_are_fixed()
    width = 0.0 if unknown else float(sigma.detach() if isinstance(sigma, Tensor) else sigma)
    if not width >= 0:
        raise ConfigError(f"sigma ({width}) must not be negative")
    if not 0 < floor <= 1:
        raise ConfigError(f"floor ({floor}) must lie above 0 and not above 1; without a floor nothing is sparse")
    if aggregate not in ("sum", "max"):
        raise ConfigError(f"aggregate ({aggregate}) must be sum or max")
    if rows_CK.ndim != 2 or rows_CK.shape != weight_CK.shape or not rows_CK.shape[1]:
        raise ValueError(
            f"rows {tuple(rows_CK.shape)} and weights {tuple(weight_CK.shape)} must both be (C, K), K at least 1"
        )
    reach = radius(width, floor, rows_CK.shape[1] if aggregate == "sum" else 1)
    bump = Bump(sigma=sigma, floor=floor, aggregate=aggregate, reach=reach, session_T=session_T, num_rows=num_rows)
    return IMPLEMENTATIONS[chosen(impl, IMPLEMENTATIONS)](rows_CK, weight_CK, user_offsets_B1, bump)


def radius(sigma: float, floor: float, overlapping: int = 1) -> float:
    """How many places from its centre a bump stays at ``floor / overlapping`` or above; infinite for an infinite width.

    >>> radius(1.0, 0.01), radius(1.0, 0.01, overlapping=8), radius(0.0, 0.01)
    (3.0, 3.0, 0.0)
    """
    if math.isinf(sigma):
        return math.inf
    return float(math.floor(sigma * math.sqrt(2 * math.log(overlapping / floor))))
