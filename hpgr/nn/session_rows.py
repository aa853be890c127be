"""Which earlier events each event may read, so that cost grows linearly with the history. Ours; see ``docs/models/hpgr.md``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged, offsets_of, row_of
from hpgr.ops.nearest_positions.grid import on_grid
from hpgr.ops.nearest_positions.highest import PLACE, ranked

# Sessions compared at once with all sessions of their user.
_SESSIONS = 256


@dataclass(frozen=True, slots=True, eq=False)
class SessionBlocks:
    """Neighbours of one session that share a list: ``offsets_P1`` of the events, ``rows_PW`` (-1: none), ``visible_NW``."""

    offsets_P1: Tensor
    rows_PW: Tensor
    visible_NW: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionRows:
    """The event's own session so far (newest ``own``), the newest ``recent`` events, and the newest ``per_session``
    events of the ``sessions`` earlier sessions that best match the first event of its own; of a tie the later ones."""

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
        event_T1 = torch.arange(signal_TD.shape[0], device=signal_TD.device)[:, None]
        session_T = row_of(session_offsets, signal_TD.shape[0])
        far_TF = self._far(self._matched(signal_TD, user_offsets, session_offsets), session_offsets)[session_T]
        user_start_T1 = user_offsets[row_of(user_offsets, signal_TD.shape[0])][:, None]
        near_TW = event_T1 - torch.arange(max(self.own, self.recent), device=signal_TD.device)
        keep_TW = self._near(event_T1, near_TW, session_offsets[session_T][:, None], user_start_T1)
        return self._lists(event_T1, (near_TW, keep_TW), far_TF, signal_TD)

    def newest(self, signal_TD: Tensor, session_offsets: Tensor) -> tuple[Tensor, Tensor]:
        """The same for the newest event of one user alone: ``[1, W]``."""
        event_11, start = torch.full_like(session_offsets[:1, None], signal_TD.shape[0] - 1), session_offsets[-2]
        token_SD, first_1D = _tokens(signal_TD[:start], session_offsets[:-1]), on_grid(signal_TD[start, None])
        best = ranked(first_1D @ token_SD.T, torch.arange(token_SD.shape[0], device=start.device))
        matched_1M = best.topk(min(self.sessions, token_SD.shape[0])).values & PLACE
        near_1W = event_11 - torch.arange(max(self.own, self.recent), device=start.device)
        keep_1W = self._near(event_11, near_1W, start, torch.zeros_like(start))
        return self._lists(event_11, (near_1W, keep_1W), self._far(matched_1M, session_offsets), signal_TD)

    def blocks(
        self, signal_TD: Tensor, user_offsets: Tensor, session_offsets: Tensor, *, size: int = 16
    ) -> SessionBlocks:
        """What every event reads, as its list says, with one list for up to ``size`` neighbours of a session."""
        count, device = signal_TD.shape[0], signal_TD.device
        num_S = -(-session_offsets.diff() // size)
        session_P = torch.repeat_interleave(torch.arange(num_S.shape[0], device=device), num_S)
        nth_P = torch.arange(session_P.shape[0], device=device) - offsets_of(num_S)[session_P]
        start_P = session_offsets[session_P] + size * nth_P
        offsets_P1 = F.pad(start_P, (0, 1), value=count)
        far_PF = self._far(self._matched(signal_TD, user_offsets, session_offsets), session_offsets)[session_P]
        before = max(self.own, self.recent) - 1
        near_PW = start_P[:, None] + torch.arange(-before, size, device=device)
        block_N = row_of(offsets_P1, count)
        event_N1, user_N = torch.arange(count, device=device)[:, None], row_of(user_offsets, count)
        near_NW = near_PW[block_N]
        near = self._near(event_N1, near_NW, session_offsets[session_P[block_N], None], user_offsets[user_N, None])
        far = self._apart(event_N1, far_PF[block_N])
        rows_PW = torch.cat([near_PW.masked_fill((near_PW < 0) | (near_PW >= count), -1), far_PF], 1)
        return SessionBlocks(offsets_P1, rows_PW, torch.cat([near & (near_NW <= event_N1), far], 1))

    def _near(self, event: Tensor, near: Tensor, session_start: Tensor, user_start: Tensor) -> Tensor:
        back = event - near
        return ((near >= session_start) & (back < self.own)) | ((near >= user_start) & (back < self.recent))

    def _apart(self, event: Tensor, far: Tensor) -> Tensor:
        return (far >= 0) & (event - far >= self.recent)

    def _far(self, matched_SM: Tensor, session_offsets: Tensor) -> Tensor:
        """``[S, F]``: the newest rows of the matched sessions; -1 where there are fewer."""
        start_SM, stop_SM = (session_offsets[matched_SM.clamp(min=0) + more] for more in (0, 1))
        far = stop_SM[..., None] - torch.arange(1, self.per_session + 1, device=matched_SM.device)
        return far.masked_fill((matched_SM < 0)[..., None] | (far < start_SM[..., None]), -1).flatten(1)

    def _lists(
        self, event: Tensor, near: tuple[Tensor, Tensor], far: Tensor, signal_TD: Tensor
    ) -> tuple[Tensor, Tensor]:
        keep_TW = torch.cat([near[1], self._apart(event, far)], 1)
        return torch.cat([near[0], far], 1).masked_fill(~keep_TW, -1), keep_TW.to(signal_TD.dtype)

    @torch.no_grad()
    def _matched(self, signal_TD: Tensor, user_offsets: Tensor, session_offsets: Tensor) -> Tensor:
        """``[S, M]``: the best earlier sessions of the same user, -1 where there are fewer."""
        if not self.sessions or not signal_TD.shape[0]:
            return session_offsets.new_empty((session_offsets.shape[0] - 1, 0))
        user_sessions = torch.searchsorted(session_offsets[:-1].contiguous(), user_offsets)
        token_bSD, there_bS = Jagged(_tokens(signal_TD, session_offsets), user_sessions).to_padded()
        first_bSD, _ = Jagged(on_grid(signal_TD[session_offsets[:-1]]), user_sessions).to_padded()
        place_S = torch.arange(token_bSD.shape[1], device=signal_TD.device)
        found = []
        for first_bsD, place_s in zip(first_bSD.split(_SESSIONS, 1), place_S.split(_SESSIONS)):
            with torch.autocast(signal_TD.device.type, enabled=False):
                match_bsS = first_bsD @ token_bSD.transpose(1, 2)
            earlier_sS = place_S < place_s[:, None]
            best = ranked(match_bsS, place_S).masked_fill(~earlier_sS, _NO_SESSION)
            best = best.topk(min(self.sessions, best.shape[2])).values
            found.append(((best & PLACE) + user_sessions[:-1, None, None]).masked_fill(best == _NO_SESSION, -1))
        return torch.cat(found, 1)[there_bS]


_NO_SESSION = torch.iinfo(torch.int64).min


def _tokens(signal_TD: Tensor, session_offsets: Tensor) -> Tensor:
    """``[S, D]``: the direction of each session's sum, on a grid, so that equal sessions tie however they are compared."""
    of_session = row_of(session_offsets, signal_TD.shape[0])
    sums_SD = signal_TD.new_zeros((session_offsets.shape[0] - 1, signal_TD.shape[1])).index_add(
        0, of_session, signal_TD
    )
    return on_grid(sums_SD)
