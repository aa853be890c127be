"""The history events whose sign codes lie nearest to each candidate's: 8 bytes for every 64 bits instead of a vector.

Source: Charikar, STOC 2002 (signs of random projections). Departs: planes of signs, so that codes are exact.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.ops.choice import chosen
from hpgr.ops.hashed_positions.reference import hashed_positions_reference
from hpgr.ops.hashed_positions.vectorised import hashed_positions_vectorised
from hpgr.ops.nearest_positions.grid import on_grid
from hpgr.ops.weighing import check_offsets

__all__ = ["IMPLEMENTATIONS", "check_bits", "hashed_positions", "recall", "sign_codes"]

IMPLEMENTATIONS = {"reference": hashed_positions_reference, "vectorised": hashed_positions_vectorised}
_WORD = 64


def hashed_positions(
    query_CW: Tensor,
    key_TW: Tensor,
    user_offsets_B1: Tensor,
    candidate_offsets_B1: Tensor,
    k: int,
    *,
    impl: str = "auto",
) -> Tensor:
    """``rows_CK`` int64: the ``k`` rows of the candidate's own user whose ``sign_codes`` differ in the fewest bits, the
    later event first of equal ones; then -1.

    Raises: ConfigError if ``k`` is less than 1; ValueError for shapes that do not fit.
    """
    if k < 1:
        raise ConfigError(f"k ({k}) must be at least 1")
    if query_CW.ndim != 2 or key_TW.ndim != 2 or query_CW.shape[1] != key_TW.shape[1]:
        raise ValueError(
            f"query and key must be (C, W) and (T, W); got {tuple(query_CW.shape)} and {tuple(key_TW.shape)}"
        )
    check_offsets("user_offsets", user_offsets_B1, key_TW.shape[0])
    check_offsets("candidate_offsets", candidate_offsets_B1, query_CW.shape[0])
    find = IMPLEMENTATIONS[chosen(impl, IMPLEMENTATIONS)]
    return find(query_CW, key_TW, user_offsets_B1, candidate_offsets_B1, k)


@torch.no_grad()
def sign_codes(x_TD: Tensor, bits: int) -> Tensor:
    """``[T, bits / 64]`` int64: on which side of ``bits`` fixed planes each vector lies; equal vectors, equal codes.

    Raises: ConfigError as ``check_bits``.
    """
    check_bits(bits)
    with torch.autocast(x_TD.device.type, enabled=False):
        above_TWB = (on_grid(x_TD) @ _planes(x_TD.shape[1], bits).to(x_TD.device) >= 0).unflatten(1, (-1, _WORD))
    return (above_TWB.long() << torch.arange(_WORD, device=x_TD.device)).sum(2)


def check_bits(bits: int) -> None:
    """Raises: ConfigError unless ``bits`` fill whole words."""
    if bits < _WORD or bits % _WORD:
        raise ConfigError(f"bits ({bits}) must be a positive multiple of {_WORD}")


def recall(found_CK: Tensor, exact_CK: Tensor) -> float:
    """The share of the exact rows (those not -1) that were found; 1 where there are none.

    >>> recall(torch.tensor([[4, 2, 7]]), torch.tensor([[2, 3, -1]]))
    0.5
    """
    there_CK = exact_CK >= 0
    hit_CK = (exact_CK[:, :, None] == found_CK[:, None, :]).any(2) & there_CK
    return float(hit_CK.sum() / there_CK.sum()) if bool(there_CK.any()) else 1.0


@cache
def _planes(dim: int, bits: int) -> Tensor:
    """``[D, bits]`` of 1 and -1; products with directions on the grid are whole numbers, exact in single precision."""
    generator = torch.Generator().manual_seed(20260301)
    return torch.randint(2, (dim, bits), generator=generator).mul(2).sub(1).float()
