"""How present each item of a history is in memory: plays add up, each fading by a power of its age.

Source: base-level activation of ACT-R, Anderson & Schooler, Psychological Science 1991; for songs: Tran et al., RecSys 2024,
arXiv:2408.16578. Departs: a play younger than ``floor_s`` counts as that old, for the power has no bound at age 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.ops.base_level.reference import base_level_reference
from hpgr.ops.base_level.vectorised import base_level_vectorised
from hpgr.ops.choice import chosen

__all__ = ["IMPLEMENTATIONS", "base_level", "check_decay", "readings_at_once"]

IMPLEMENTATIONS = {"reference": base_level_reference, "vectorised": base_level_vectorised}
# Strengths that stand in memory together.
_TOGETHER = 2**22


@torch.no_grad()
def base_level(
    item_T: Tensor,
    time_ms_T: Tensor,
    offsets_B1: Tensor,
    read_N: Tensor,
    at_ms_N: Tensor,
    *,
    decay: float = 0.5,
    floor_s: float = 1.0,
    impl: str = "auto",
) -> Tensor:
    """``[N, L]`` float32: ``Σ max(age, floor_s)^-decay`` over an item's plays until event ``read_N``, ages in seconds at ``at_ms_N``.

    A sum stands at the place in its row of the item's first play; elsewhere, and behind the event, is 0. ``L``: events of the
    longest row. The logarithm is ACT-R's base level; a row divided by its sum is the softmax of base levels over the history.
    Later events change no number.

    Raises: ConfigError as ``check_decay``; ValueError for shapes that do not fit.
    """
    check_decay(decay, floor_s)
    if item_T.shape != time_ms_T.shape or read_N.shape != at_ms_N.shape:
        raise ValueError(
            f"items {tuple(item_T.shape)} must have times {tuple(time_ms_T.shape)}, and readings {tuple(read_N.shape)} "
            f"moments {tuple(at_ms_N.shape)}, of their shape"
        )
    run = IMPLEMENTATIONS[chosen(impl, IMPLEMENTATIONS)]
    return run(item_T, time_ms_T, offsets_B1, read_N, at_ms_N, decay=decay, floor_s=floor_s)


def check_decay(decay: float, floor_s: float) -> None:
    """Raises: ConfigError unless ``decay`` is at least 0 and ``floor_s`` above 0."""
    if not 0 <= decay < float("inf"):
        raise ConfigError(f"decay ({decay}) must be finite and not negative")
    if not floor_s > 0:
        raise ConfigError(f"floor_s ({floor_s}) must be greater than 0; a play of age 0 would be infinitely strong")


def readings_at_once(offsets_B1: Tensor) -> int:
    """How many readings' strengths stand in memory together."""
    return max(1, _TOGETHER // max(1, int(offsets_B1.diff().max()) if len(offsets_B1) > 1 else 1))
