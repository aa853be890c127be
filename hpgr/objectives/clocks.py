"""Popularity by the clock: what was seen lately, or at this hour of the day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
_HALVINGS = 40  # what is older counts less than 1e-12


class ClockCounter(Protocol):
    """Reads the training histories batch by batch, then tells the counts."""

    def add(self, history: History) -> None: ...

    def counts(self) -> Tensor:
        """``[R, V]`` float32: how often each item was seen, by row of the clock."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Recently:
    """Events of the last ``window_days`` before the end of training, each halved with every ``half_life_days`` of its age.

    The end is the newest training event of all. None switches either off, not both. ``smoothing``: so many events are
    added, shared out like all training events.
    """

    window_days: float | None = 7.0
    half_life_days: float | None = None
    smoothing: float = 1.0

    @property
    def num_rows(self) -> int:
        return 1

    def __post_init__(self) -> None:
        for name in ("window_days", "half_life_days"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} ({value}) must be greater than 0 or none")
        if self.window_days is None and self.half_life_days is None:
            raise ConfigError("window_days (None) must be given where half_life_days is None; else nothing is recent")
        _check_smoothing(self.smoothing)

    @property
    def reach_ms(self) -> float:
        """Age of the oldest events that count."""
        days = [self.window_days, _HALVINGS * self.half_life_days if self.half_life_days else None]
        return min(day for day in days if day is not None) * DAY_MS

    def counter(self, num_items: int) -> RecentCounter:
        """What reads the training histories."""
        return RecentCounter(self, num_items)

    def row(self, now_ms: Tensor) -> Tensor:
        """``[B]``: the row of counts that holds at ``now_ms [B]``; there is one."""
        return torch.zeros_like(now_ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class HourOfDay:
    """Events of each hour of the day; ``utc_offset_h``: the clock's lead over UTC. ``smoothing``: as in ``Recently``."""

    utc_offset_h: float = 0.0
    smoothing: float = 1000.0

    @property
    def num_rows(self) -> int:
        return 24

    def __post_init__(self) -> None:
        if not -12 <= self.utc_offset_h <= 14:
            raise ConfigError(f"utc_offset_h ({self.utc_offset_h}) must lie in [-12, 14]")
        _check_smoothing(self.smoothing)

    def counter(self, num_items: int) -> HourCounter:
        """What reads the training histories."""
        return HourCounter(self, num_items)

    def row(self, now_ms: Tensor) -> Tensor:
        """``[B]`` in 0 … 23: the hour of ``now_ms [B]``."""
        return (now_ms + round(self.utc_offset_h * HOUR_MS)).div(HOUR_MS, rounding_mode="floor") % 24


class RecentCounter:
    """Keeps the events that can still be recent; the end of training is known only after the last batch."""

    def __init__(self, rule: Recently, num_items: int) -> None:
        self.rule, self.num_items = rule, num_items
        self._item_N = self._time_N = torch.zeros(0, dtype=torch.int64)

    def add(self, history: History) -> None:
        """Take the events of ``history`` whose items the catalogue has; any event moves the end."""
        if not history.num_events:
            return
        item_N = torch.cat([self._item_N, history.item_idx])
        time_N = torch.cat([self._time_N, history.time_ms])
        # The newest event stays whatever its item is: ages are counted from it.
        keep = (time_N.max() - time_N < self.rule.reach_ms) & ((item_N < self.num_items) | (time_N == time_N.max()))
        self._item_N, self._time_N = item_N[keep], time_N[keep]

    def counts(self) -> Tensor:
        """``[1, V]``."""
        known = self._item_N < self.num_items
        item_N, weight_N = self._item_N[known], torch.ones(int(known.sum()), dtype=torch.float64)
        if self.rule.half_life_days and item_N.shape[0]:
            age_N = (self._time_N.max() - self._time_N[known]).double() / DAY_MS
            weight_N = 0.5 ** (age_N / self.rule.half_life_days)
        counts_V = torch.zeros(self.num_items, dtype=torch.float64).index_add_(0, item_N, weight_N)
        return counts_V.float()[None]


class HourCounter:
    """Counts events by hour and item."""

    def __init__(self, rule: HourOfDay, num_items: int) -> None:
        self.rule, self.num_items = rule, num_items
        self._counts_RV = torch.zeros(rule.num_rows, num_items, dtype=torch.int64)

    def add(self, history: History) -> None:
        """Count the events of ``history`` whose items the catalogue has."""
        known = history.item_idx < self.num_items
        key = self.rule.row(history.time_ms[known]) * self.num_items + history.item_idx[known]
        self._counts_RV += key.bincount(minlength=self._counts_RV.numel()).view_as(self._counts_RV)

    def counts(self) -> Tensor:
        """``[24, V]``."""
        return self._counts_RV.float()


def _check_smoothing(smoothing: float) -> None:
    if not smoothing > 0:
        raise ConfigError(f"smoothing ({smoothing}) must be greater than 0, so that no item is impossible")
