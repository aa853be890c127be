"""Any followed encoder, run over one token a session. Tran et al., RecSys 2024, arXiv:2408.16578 (PISA).

Departs: each event asks, with the token of its session so far, where the article asks once a session; a learned token stands
before a user's first session; the encoder inside tells places by a relative bias.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.encoders import why_not_followed
from hpgr.nn.activation_pool import ActivationPool, Plays
from hpgr.nn.shifted import shifted


class SessionTokens(nn.Module):
    """A session ends as one token, its songs weighed by how active they are in memory when the next one begins.

    An event's state is that of its session's token so far, which reads the tokens of the sessions before: of length 1, plus
    that token's direction itself.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``encoder``: config of the encoder inside; it must be causal, go on after an event, and not tell places itself.
        ``pool``: what makes a token of a session so far. ``skip``: the token is added to the state."""

        causal: ClassVar[bool] = True
        reads_items: ClassVar[bool] = True

        encoder: Any
        pool: ActivationPool.Config = field(default_factory=ActivationPool.Config)
        skip: bool = True

        @property
        def inside(self) -> tuple[Any, ...]:
            """The encoder that it holds."""
            return (self.encoder,)

        def build(self, *, dim: int) -> SessionTokens:
            """Raises: UnsupportedError where the encoder cannot go on after an event, or knows later ones."""
            return SessionTokens(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = config.encoder.build(dim=dim)
        why = why_not_followed(self.encoder)
        if why is None and not getattr(config.encoder, "causal", False):
            why = "a session's token would know the sessions after it"
        if why is None and getattr(config.encoder, "position", None) is not None:
            why = "the token that follows would have no place of its kind; set its position to None"
        if why is not None:
            raise UnsupportedError(
                f"encoder inside SessionTokens must be causal, go on after an event and tell no places: {why}"
            )
        self.pool = config.pool.build()
        self.before_D = nn.Parameter(torch.randn(dim) * 0.02)

    def before_epoch(self, epoch: int, histories: Iterable[History]) -> None:
        """Count, once, which items come in sessions together."""
        if self.pool.links is not None and epoch == 0:
            self.pool.links.count((history.item_idx, history.session_offsets) for history in histories)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)`` to ``(T, D)``."""
        every = torch.arange(history.num_events, device=x.values.device)
        return x.with_values(self.states_at(x, history, every))

    def newest(self, x: Jagged, history: History) -> Tensor:
        """``[N, D]``: the states of the newest event of each user that has any; no other event asks."""
        return self.states_at(x, history, history.user_offsets[1:][history.lengths > 0] - 1)

    def states_at(self, x: Jagged, history: History, rows_N: Tensor) -> Tensor:
        """``[N, D]``: the states of the events ``rows_N``, in any order."""
        if not history.num_events:
            return x.values[rows_N]
        asked_ms, plays = history.next_time_ms(), _plays(history)
        end_S = history.session_offsets[1:] - 1
        # An event may be there several times; its token is made once.
        read_M, at_N = rows_N.unique(return_inverse=True)
        made_R, at_R = torch.cat([end_S, read_M]).unique(return_inverse=True)
        token_RD = self.pool(x.values, plays, made_R, asked_ms[made_R])
        ended_SD, token_MD = token_RD[at_R[: len(end_S)]], token_RD[at_R[len(end_S) :]]
        sessions = _sessions(history)
        before_SD = shifted(ended_SD, sessions.user_offsets, 1)
        first_S = torch.zeros(len(end_S), dtype=torch.bool, device=end_S.device)
        first_S[sessions.user_offsets[:-1][history.lengths > 0]] = True
        before_SD = torch.where(first_S[:, None], self.before_D, self._scaled(before_SD))
        # Row s holds what came before session s, whose events follow it.
        after_M = history.session_of_event()[read_M]
        _, chains = self.encoder.begin(sessions.jagged(before_SD), sessions, after_M)
        state_MD, _ = self.encoder.follow(chains, self._scaled(token_MD))
        state_MD = F.normalize(state_MD, dim=-1)
        if self.config.skip:
            state_MD = state_MD + F.normalize(token_MD, dim=-1)
        return state_MD[at_N]

    def _scaled(self, token_RD: Tensor) -> Tensor:
        return token_RD * token_RD.shape[-1] ** 0.5


def _plays(history: History) -> Plays:
    return Plays(
        item_T=history.item_idx,
        time_ms_T=history.time_ms,
        user_offsets_B1=history.user_offsets,
        session_offsets_S1=history.session_offsets,
    )


def _sessions(history: History) -> History:
    """A row for each session, at the end of the one before it, at its own begin where it is the first; without items."""
    offsets = history.user_session_offsets()
    begins_S, ends_S = history.session_offsets[:-1], history.session_offsets[1:] - 1
    time_ms_S = history.time_ms[begins_S.clone()]
    time_ms_S[1:] = history.time_ms[ends_S[:-1]]
    first_S = offsets[:-1][history.lengths > 0]
    time_ms_S[first_S] = history.time_ms[begins_S[first_S]]
    nothing_S = torch.zeros_like(time_ms_S)
    return History(
        item_idx=nothing_S,
        time_ms=time_ms_S,
        action=nothing_S,
        user_offsets=offsets,
        session_offsets=torch.arange(len(ends_S) + 1, device=offsets.device),
        now_ms=history.now_ms,
        session_open=history.session_open,
    )
