"""Which kinds of events are predicted."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError


def of_kind(action_T: Tensor, actions: tuple[int, ...]) -> Tensor:
    """``[T]`` bool: events whose action is one of ``actions``.

    >>> of_kind(torch.tensor([0, 1, 2, 1]), (1, 2)).tolist()
    [False, True, True, True]
    """
    return torch.isin(action_T, action_T.new_tensor(actions))


def check_actions(actions: tuple[int, ...] | None) -> None:
    """Raises: ConfigError for no kind at all, and for a code below 0."""
    if actions is not None and (not actions or min(actions) < 0):
        raise ConfigError(f"actions ({actions}) must be codes of 0 and above, or None for every kind")
