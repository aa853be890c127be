"""Where an event stands: a learned vector for its rank and one for how long ago it was.

Ours, after the time-aware position embedding that Chen et al., WWW 2026, arXiv:2603.00980, name without a formula, and
the backward position index of the library layer of Zhai et al., ICML 2024, arXiv:2402.17152.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import position_in_row, row_of
from hpgr.ops.time_bucket import log_bucket, sqrt_bucket


class TimeAwarePosition(nn.Module):
    """``Pos[rank] + Time[bucket(now - t)]``; the ranks count from the newest event backwards or from the oldest on.

    With ``clock`` ``previous`` the time is that since the user's previous event, and for a candidate since the newest.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Ranks beyond ``num_positions`` share the last row. ``num_time_buckets`` None: ranks only; else, by ``spacing``,
        two buckets for every doubling of the time since the event, from one second on (64 reach far beyond any log), or
        the root of its minutes. ``clock``: from which moment that time counts. With ``from_start`` and ``previous`` an event
        keeps its vector whatever follows it and whenever it is asked. ``std``: of the initial normal weights.
        """

        num_positions: int = 512
        num_time_buckets: int | None = 64
        order: Literal["from_end", "from_start"] = "from_end"
        spacing: Literal["log", "sqrt"] = "log"
        clock: Literal["now", "previous"] = "now"
        std: float = 0.02

        def __post_init__(self) -> None:
            if self.num_positions < 1:
                raise ConfigError(f"num_positions ({self.num_positions}) must be at least 1")
            if self.num_time_buckets is not None and self.num_time_buckets < 2:
                raise ConfigError(
                    f"num_time_buckets ({self.num_time_buckets}) must be at least 2, or None for ranks only"
                )
            if self.order not in ("from_end", "from_start"):
                raise ConfigError(f"order ({self.order}) must be from_end or from_start")
            if self.spacing not in ("log", "sqrt"):
                raise ConfigError(f"spacing ({self.spacing}) must be log or sqrt")
            if self.clock not in ("now", "previous"):
                raise ConfigError(f"clock ({self.clock}) must be now or previous")
            if not self.std > 0:
                raise ConfigError(f"std ({self.std}) must be positive")

        @property
        def tells_now(self) -> bool:
            """Whether an event's vector tells how long before the question it was, in training before what comes last."""
            return self.num_time_buckets is not None and self.clock == "now"

        def build(self, *, dim: int) -> TimeAwarePosition:
            return TimeAwarePosition(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        # Row 0 is the place of candidates; history takes the rows from 1 on.
        self.rank = nn.Embedding(config.num_positions + 1, dim)
        self.age = nn.Embedding(config.num_time_buckets, dim) if config.num_time_buckets else None
        for table in (self.rank, self.age):
            if table is not None:
                nn.init.normal_(table.weight, std=config.std)

    def for_history(self, user_offsets: Tensor, time_ms: Tensor, now_ms: Tensor) -> Tensor:
        """``[T, D]`` for events at ``time_ms [T]`` in rows ``user_offsets [B+1]``, asked at ``now_ms [B]``."""
        row_T = row_of(user_offsets, time_ms.shape[0])
        rank_T = position_in_row(user_offsets, time_ms.shape[0])
        if self.config.order == "from_end":
            rank_T = user_offsets.diff()[row_T] - 1 - rank_T
        place_TD = self.rank(rank_T.clamp(0, self.config.num_positions - 1) + 1)
        if self.age is None:
            return place_TD
        age_ms_T = (
            _since_previous(user_offsets, time_ms) if self.config.clock == "previous" else now_ms[row_T] - time_ms
        )
        return place_TD + self.age(self._bucket(age_ms_T))

    def for_candidates(self, waited_ms_C: Tensor) -> Tensor:
        """``[C, D]``: all candidates share one place, now; none can tell how many there are.

        ``waited_ms_C``: the time since the user's newest event, 0 where there is none; read by the clock ``previous``.
        """
        at_C = torch.zeros_like(waited_ms_C, dtype=torch.int64)
        place_CD = self.rank(at_C)
        if self.age is None:
            return place_CD
        return place_CD + self.age(self._bucket(waited_ms_C) if self.config.clock == "previous" else at_C)

    def why_not_appended(self) -> str | None:
        """Why an event's vector changes after it; None where it does not."""
        if self.config.order != "from_start":
            return f"positions with order ({self.config.order}) count from the newest event; take from_start"
        if self.age is not None and self.config.clock != "previous":
            return f"positions with clock ({self.config.clock}) count from the moment of the request; take previous"
        return None

    def _bucket(self, age_ms_T: Tensor) -> Tensor:
        assert self.config.num_time_buckets is not None
        if self.config.spacing == "sqrt":
            return sqrt_bucket(age_ms_T.double() / 1000, num_buckets=self.config.num_time_buckets)
        return log_bucket(age_ms_T, num_buckets=self.config.num_time_buckets, first=1000)


def _since_previous(user_offsets: Tensor, time_ms_T: Tensor) -> Tensor:
    """``[T]`` int64: the time since the event before, 0 for the first of a row."""
    since_T = torch.cat([torch.zeros_like(time_ms_T[:1]), time_ms_T.diff()])
    return since_T.masked_fill(position_in_row(user_offsets, time_ms_T.shape[0]) == 0, 0)
