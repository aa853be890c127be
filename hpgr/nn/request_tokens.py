"""A few tokens that say what is known of a request: where a log has no user features, ours in the place of MTGR's profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.ops.time_bucket import log_bucket

_HOUR_MS = 3_600_000
# Two a doubling: the last begins near 33,000 events.
_NUM_LENGTHS = 32


class RequestTokens(nn.Module):
    """One learned vector each for the hour of day, the day of the week (both UTC) and how long the history is."""

    NUM_TOKENS: ClassVar[int] = 3

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``std``: of the initial normal weights."""

        std: float = 0.02

        def __post_init__(self) -> None:
            if not self.std > 0:
                raise ConfigError(f"std ({self.std}) must be positive")

        def build(self, *, dim: int) -> RequestTokens:
            return RequestTokens(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.hour, self.weekday, self.length = (nn.Embedding(rows, dim) for rows in (24, 7, _NUM_LENGTHS))
        for table in (self.hour, self.weekday, self.length):
            nn.init.normal_(table.weight, std=config.std)

    def forward(self, now_ms_B: Tensor, length_B: Tensor) -> Tensor:
        """``[B, 3, D]`` for requests at ``now_ms`` with ``length`` events behind them, both int64."""
        hour_B = now_ms_B // _HOUR_MS
        bucket_B = log_bucket(length_B, num_buckets=_NUM_LENGTHS, first=1)
        return torch.stack([self.hour(hour_B % 24), self.weekday(hour_B // 24 % 7), self.length(bucket_B)], dim=1)
