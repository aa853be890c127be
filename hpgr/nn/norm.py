"""The norms of a vector: by mean and spread, or by its root mean square alone.

Ba et al., 2016, arXiv:1607.06450 (``layer``); Zhang & Sennrich, NeurIPS 2019, arXiv:1910.07467 (``rms``).
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from hpgr.core.errors import UnknownNameError

NormKind = Literal["layer", "rms"]


def check_norm(kind: str) -> None:
    """Raises: UnknownNameError if there is no norm of that kind."""
    if kind not in get_args(NormKind):
        raise UnknownNameError.of("norm_kind", kind, get_args(NormKind))


def norm_layer(kind: NormKind, dim: int, *, eps: float = 1e-5) -> nn.Module:
    """``[..., D]`` to ``[..., D]``: ``layer`` has a gain and a shift for each column, ``rms`` a gain.

    Raises: UnknownNameError if there is no norm of that kind.
    """
    check_norm(kind)
    return nn.LayerNorm(dim, eps=eps) if kind == "layer" else nn.RMSNorm(dim, eps=eps)
