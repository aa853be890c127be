"""MTGR's tokens: an MLP makes them, their domain and time say who may read them. Han et al., CIKM 2025, arXiv:2505.18654."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.nn.feed_forward import FeedForward
from hpgr.ops.time_bucket import log_bucket

ALWAYS = torch.iinfo(torch.int64).min
"""The time of what every query sees: −∞."""


class Domain(IntEnum):
    """Kinds of tokens: the article's U, S, R and I."""

    REQUEST = 0
    LONG_TERM = 1
    REAL_TIME = 2
    CANDIDATE = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Packing:
    """Where the tokens of ``B`` users stand, ``T`` of them end to end: of each user the request's, then its events.

    ``offsets [B+1]``, ``domain_T`` and ``time_T`` int64; a static token's time is −∞. ``event_rows`` and
    ``request_rows``: which tokens are which.
    """

    offsets: Tensor
    domain_T: Tensor
    time_T: Tensor
    event_rows: Tensor
    request_rows: Tensor

    @classmethod
    def of(cls, history: History, num_request: int, starts_ms_B: Tensor, *, timed: bool = True) -> Packing:
        """``num_request`` tokens before each user's events, of which those from ``starts_ms`` on are real-time.

        ``timed`` False: they are static nevertheless.
        """
        user_T = history.user_of_event()
        offsets = history.user_offsets + num_request * torch.arange(history.num_users + 1, device=user_T.device)
        recent = history.time_ms >= starts_ms_B[user_T]
        event_rows = torch.arange(history.num_events, device=user_T.device) + num_request * (user_T + 1)
        count = history.num_events + num_request * history.num_users
        kind_T = torch.where(recent, int(Domain.REAL_TIME), int(Domain.LONG_TERM))
        domain_T = torch.full((count,), int(Domain.REQUEST), device=user_T.device).index_copy(0, event_rows, kind_T)
        time_T = torch.full_like(domain_T, ALWAYS)
        if timed:
            time_T = time_T.index_copy(0, event_rows, history.time_ms.masked_fill(~recent, ALWAYS))
        request_rows = (offsets[:-1, None] + torch.arange(num_request, device=user_T.device)).flatten()
        return cls(offsets=offsets, domain_T=domain_T, time_T=time_T, event_rows=event_rows, request_rows=request_rows)

    def static(self) -> tuple[Tensor, Tensor]:
        """``(rows, offsets [B+1])`` of the tokens that every query of their user sees."""
        return self._only(self.time_T == ALWAYS)

    def timed(self) -> tuple[Tensor, Tensor]:
        """``(rows, offsets [B+1])`` of the tokens that only later queries see."""
        return self._only(self.time_T != ALWAYS)

    def counts(self, domain: Domain) -> Tensor:
        """``[B]`` int64: tokens of a domain that each user has."""
        return self._before(self.domain_T == domain).diff()

    def _only(self, chosen_T: Tensor) -> tuple[Tensor, Tensor]:
        return chosen_T.nonzero().squeeze(1), self._before(chosen_T)

    def _before(self, chosen_T: Tensor) -> Tensor:
        """``[B+1]`` int64: chosen tokens before each user's first."""
        return torch.cat([self.offsets.new_zeros(1), chosen_T.cumsum(0)])[self.offsets]


class MtgrTrunk(nn.Module):
    """Tokens by an MLP: of an event from its vector and how long ago it was, of a candidate from its vector.

    A candidate's vector already holds a linear map of its cross features, so the MLP's first layer reads both.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``num_time_buckets``: two for every doubling of the time since an event, from one second on."""

        mlp: FeedForward.Config
        num_time_buckets: int = 64

        def __post_init__(self) -> None:
            if self.num_time_buckets < 2:
                raise ConfigError(f"num_time_buckets ({self.num_time_buckets}) must be at least 2")

        def build(self, *, dim: int) -> MtgrTrunk:
            return MtgrTrunk(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.age = nn.Embedding(config.num_time_buckets, dim)
        self.of_event = config.mlp.build(dim=dim)
        self.of_candidate = config.mlp.build(dim=dim)
        nn.init.normal_(self.age.weight, std=0.02)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """Item vectors ``(T, D)`` to tokens ``(T, D)``."""
        age_ms_T = history.now_ms[history.user_of_event()] - history.time_ms
        bucket_T = log_bucket(age_ms_T, num_buckets=self.config.num_time_buckets, first=1000)
        return x.with_values(self.of_event(x.values + self.age(bucket_T)))

    def for_candidates(self, x_CD: Tensor, waited_ms_C: Tensor) -> Tensor:
        """``[C, D]``; how long ago the newest event was, ``waited_ms_C``, is not read."""
        return self.of_candidate(x_CD)
