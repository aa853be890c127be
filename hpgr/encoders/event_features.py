"""What is known of an event besides its item: which kind it was, and when in the week."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged

HOUR_MS, HOURS_A_WEEK = 3_600_000, 168


class EventFeatures(nn.Module):
    """A trunk that adds to each item vector one for the kind of its event and one for the hour of its week.

    An event's token holds nothing of later events. What it tells of an event that is hidden stays told.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``num_actions``: kinds of events, 0 to leave them out; a kind beyond is read as unknown. ``week``: the hour of the
        week, in a clock that is ``utc_offset_h`` ahead of UTC."""

        causal: ClassVar[bool] = True

        num_actions: int = 0
        week: bool = False
        utc_offset_h: float = 0.0

        def __post_init__(self) -> None:
            if self.num_actions < 0:
                raise ConfigError(f"num_actions ({self.num_actions}) must not be negative")
            if not self.num_actions and not self.week:
                raise ConfigError(
                    f"week ({self.week}) must be True where num_actions is 0; else there is nothing to tell"
                )
            if not -12 <= self.utc_offset_h <= 14:
                raise ConfigError(f"utc_offset_h ({self.utc_offset_h}) must lie in [-12, 14]")

        def build(self, *, dim: int) -> EventFeatures:
            return EventFeatures(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.actions = nn.Embedding(config.num_actions + 1, dim) if config.num_actions else None
        self.hours = nn.Embedding(HOURS_A_WEEK, dim) if config.week else None
        for table in (self.actions, self.hours):
            if table is not None:
                nn.init.normal_(table.weight, std=0.02)

    def places(self, history: History) -> Tensor:
        """``[T, D]``: what is added to every item vector."""
        told = []
        if self.actions is not None:
            kind_T = torch.where(history.action <= self.config.num_actions, history.action, 0)
            told.append(self.actions(kind_T))
        if self.hours is not None:
            told.append(self.hours(hour_of_week(history.time_ms, self.config.utc_offset_h)))
        return torch.stack(told).sum(0)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """Item vectors ``(T, D)`` to tokens ``(T, D)``."""
        return x.with_values(x.values + self.places(history))


def hour_of_week(time_ms: Tensor, utc_offset_h: float = 0.0) -> Tensor:
    """int64 in 0 … 167, from Thursday midnight on, as the epoch does.

    >>> hour_of_week(torch.tensor([0, 3_600_000, 168 * 3_600_000, -1])).tolist()
    [0, 1, 0, 167]
    """
    hours = (time_ms + round(utc_offset_h * HOUR_MS)).div(HOUR_MS, rounding_mode="floor")
    return hours % HOURS_A_WEEK
