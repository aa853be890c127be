"""Which earlier events each event may read, so that cost grows linearly with the history. Ours; see ``docs/models/hpgr.md``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged, row_of


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionRows:
    """The event's own session so far (newest ``own``), the newest ``recent`` events, and the newest ``per_session``
    events of the ``sessions`` earlier sessions that best match the first event of its own."""

    own: int = 32
    recent: int = 16
    sessions: int = 4
    per_session: int = 8

    def __post_init__(self) -> None:
        for name in ("own", "recent", "per_session"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
        if self.sessions < 0:
            raise ConfigError(f"sessions ({self.sessions}) must not be negative")

    def __call__(self, signal_TD: Tensor, user_offsets: Tensor, session_offsets: Tensor) -> tuple[Tensor, Tensor]:
        """``(rows_TW, gate_TW)``: rows to read and 1.0, or -1 and 0.0; no row twice, none later than the event."""
        count, device = signal_TD.shape[0], signal_TD.device
        event_T1 = torch.arange(count, device=device)[:, None]
        user_start_T1 = user_offsets[row_of(user_offsets, count)][:, None]
        session_T = row_of(session_offsets, count)
        session_start_T1 = session_offsets[session_T][:, None]
        back_W = torch.arange(max(self.own, self.recent), device=device)
        near_TW = event_T1 - back_W
        in_session = (near_TW >= session_start_T1) & (back_W < self.own)
        in_window = (near_TW >= user_start_T1) & (back_W < self.recent)
        rows, keep = [near_TW], [in_session | in_window]
        if self.sessions and count:
            matched_SM = self._matched(signal_TD, user_offsets, session_offsets)[session_T]
            stop_TM = session_offsets[matched_SM.clamp(min=0) + 1]
            start_TM = session_offsets[matched_SM.clamp(min=0)]
            back = torch.arange(1, self.per_session + 1, device=device)
            far = stop_TM[..., None] - back
            fits = (
                (matched_SM >= 0)[..., None] & (far >= start_TM[..., None]) & (event_T1[..., None] - far >= self.recent)
            )
            rows.append(far.flatten(1))
            keep.append(fits.flatten(1))
        rows_TW, keep_TW = torch.cat(rows, 1), torch.cat(keep, 1)
        return rows_TW.masked_fill(~keep_TW, -1), keep_TW.to(signal_TD.dtype)

    @torch.no_grad()
    def _matched(self, signal_TD: Tensor, user_offsets: Tensor, session_offsets: Tensor) -> Tensor:
        """``[S, M]``: the best earlier sessions of the same user, -1 where there are fewer."""
        lengths = session_offsets.diff()
        of_session = row_of(session_offsets, signal_TD.shape[0])
        sums_SD = signal_TD.new_zeros((lengths.shape[0], signal_TD.shape[1])).index_add(0, of_session, signal_TD)
        user_sessions = torch.searchsorted(session_offsets[:-1].contiguous(), user_offsets)
        token, there = Jagged(F.normalize(sums_SD, dim=-1), user_sessions).to_padded()
        first, _ = Jagged(F.normalize(signal_TD[session_offsets[:-1]], dim=-1), user_sessions).to_padded()
        match = first @ token.transpose(1, 2)
        earlier = torch.ones(match.shape[1:], dtype=torch.bool, device=match.device).tril(-1)
        match = match.masked_fill(~(earlier & there[:, None, :]), -torch.inf)
        best, at = match.topk(min(self.sessions, match.shape[2]), dim=2)
        session = (at + user_sessions[:-1, None, None]).masked_fill(best == -torch.inf, -1)
        return session[there]
