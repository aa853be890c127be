"""Which events of its own row an event may read: a closed set of facts about tokens, never a square of flags."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MaskRule:
    """Facts joined by *and*; rows (users) never see each other whatever the rule.

    ``causal``: oneself and earlier events. ``window``: fewer than this many places away, oneself included.
    ``group_T`` int64: the same group only (sessions). ``time_T``: strictly earlier times, and oneself.
    """

    causal: bool = True
    window: int | None = None
    group_T: Tensor | None = None
    time_T: Tensor | None = None

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 1:
            raise ConfigError(f"window ({self.window}) must be at least 1, which is the event itself")

    def check(self, num_events: int) -> None:
        """Raises: ValueError where a fact is not given for every event."""
        for name in ("group_T", "time_T"):
            fact = getattr(self, name)
            if fact is not None and fact.shape != (num_events,):
                raise ValueError(f"{name} {tuple(fact.shape)} must have one value for each of the {num_events} events")

    def visible(self, query_rows: Tensor, key_rows: Tensor) -> Tensor:
        """Bool: may each query read each key of its own row? The two tensors of events broadcast."""
        back = query_rows - key_rows
        seen = back >= 0 if self.causal else torch.ones_like(back, dtype=torch.bool)
        if self.window is not None:
            seen = seen & (back.abs() < self.window)
        if self.group_T is not None:
            seen = seen & (self.group_T[query_rows] == self.group_T[key_rows])
        if self.time_T is not None:
            seen = seen & ((self.time_T[key_rows] < self.time_T[query_rows]) | (back == 0))
        return seen
