"""Any encoder over sessions: each is one token, pooled from its events. Huang et al., 2025, arXiv:2502.10157 (SessionRec)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.jagged import Jagged
from hpgr.encoders import newest_states, why_not_followed
from hpgr.nn.set_pool import SetPool


class BySession(nn.Module):
    """All events of a session have its state: what the encoder inside makes of its token among those of the user.

    Attention costs the square of the sessions, not of the events.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``encoder``: config of the encoder inside, to which a session is an event. ``pool``: how a session's events become one.

        An event's state has read its whole session: it may be asked about later sessions only."""

        causal: ClassVar[bool] = False

        encoder: Any
        pool: SetPool.Config = field(default_factory=SetPool.Config)

        @property
        def inside(self) -> tuple[Any, ...]:
            """The encoder that it holds."""
            return (self.encoder,)

        @property
        def causal_sessions(self) -> bool:
            """Whether a session's state knows nothing of later sessions, as the encoder inside says of its events."""
            return getattr(self.encoder, "causal", False)

        def build(self, *, dim: int) -> BySession:
            return BySession(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.pool = config.pool.build(dim=dim)
        self.encoder = config.encoder.build(dim=dim)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)`` to ``(T, D)``."""
        states_SD = self.encoder(*self._sessions(x, history)).values
        return x.with_values(states_SD[history.session_of_event()])

    def newest(self, x: Jagged, history: History) -> Tensor:
        """``[N, D]``: the states of the newest session of each user that has any."""
        return newest_states(self.encoder, *self._sessions(x, history))

    def begin(self, x: Jagged, history: History, after_N: Tensor) -> tuple[Jagged, Any]:
        """As ``FollowedEncoder.begin``; a token follows the session of an event."""
        session_T = history.session_of_event()
        states, chains = self.encoder.begin(*self._sessions(x, history), session_T[after_N])
        return x.with_values(states.values[session_T]), chains

    def follow(self, chains: Any, x_ND: Tensor) -> tuple[Tensor, Any]:
        """As ``FollowedEncoder.follow``."""
        found: tuple[Tensor, Any] = self.encoder.follow(chains, x_ND)
        return found

    def why_not_followed(self) -> str | None:
        """What hinders the encoder inside."""
        return why_not_followed(self.encoder)

    def _sessions(self, x: Jagged, history: History) -> tuple[Jagged, History]:
        sessions = sessions_as_events(history)
        return sessions.jagged(self.pool(x.values, history.session_offsets, history.action)), sessions


def sessions_as_events(history: History) -> History:
    """Each session as one event, which is a session of its own and stands at the moment that it began.

    Then an encoder that asks when the following event came learns when the next session began, as a request tells it, and
    not when it ended.
    """
    # Slots of sessions that are not there, as fixed shapes have them, begin behind the last event.
    first_S = history.session_offsets[:-1].clamp(max=history.num_events - 1)
    return History(
        item_idx=history.item_idx[first_S],
        time_ms=history.time_ms[first_S],
        action=history.action[first_S],
        user_offsets=history.user_session_offsets(),
        session_offsets=torch.arange(first_S.shape[0] + 1, device=first_S.device),
        now_ms=history.now_ms,
        session_open=torch.zeros_like(history.session_open),
        features={name: column[first_S] for name, column in history.features.items()},
    )
