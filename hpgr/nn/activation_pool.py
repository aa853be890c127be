"""A set of plays as one vector, weighed by how active each song is in memory. Tran et al., RecSys 2024, arXiv:2408.16578 (PISA).

Departs: the moment of the activations is each reading's own, so that nothing later is known; a session is read as far as it
went, its newest ``width`` plays; partial matching compares directions, not vectors of any length.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import row_of
from hpgr.nn.session_links import SessionLinks
from hpgr.ops.base_level import base_level, check_decay, readings_at_once
from hpgr.ops.base_level.plays import first_plays, next_plays

# Keeps a gradient where nothing is active.
_LEAST = 1e-8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plays:
    """Who played what when: ``item_T`` and ``time_ms_T`` int64, in rows of users and, inside them, of sessions."""

    item_T: Tensor
    time_ms_T: Tensor
    user_offsets_B1: Tensor
    session_offsets_S1: Tensor


class ActivationPool(nn.Module):
    """``Σ w_i e_i`` over the different songs of a session so far, ``w ∝ (Σ_c relu(mix_c) relu(activation_c))^power``.

    The activations of a song: its base level's share in the whole history; what the session's other songs spread to it
    (``SessionLinks``); its cosine with their sum.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``decay``, ``floor_s``: as in ``base_level``. ``spread`` None, ``matching`` False: without that component. ``width``:
        newest plays of a session that are read at most."""

        decay: float = 0.5
        floor_s: float = 1.0
        spread: SessionLinks.Config | None = field(default_factory=SessionLinks.Config)
        matching: bool = True
        power: float = 0.5
        width: int = 20

        def __post_init__(self) -> None:
            check_decay(self.decay, self.floor_s)
            if not self.power > 0:
                raise ConfigError(f"power ({self.power}) must be greater than 0")
            if self.width < 1:
                raise ConfigError(f"width ({self.width}) must be at least 1")

        def build(self) -> ActivationPool:
            return ActivationPool(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.links = config.spread.build() if config.spread else None
        self.mix = nn.Parameter(torch.full((1 + (config.spread is not None) + config.matching,), 0.1))

    def forward(self, x_TD: Tensor, plays: Plays, read_N: Tensor, at_ms_N: Tensor) -> Tensor:
        """``[N, D]``: of the songs of each event's session until that event, asked at ``at_ms_N``; gradients to vectors and mix."""
        event_NW, weight_NW = self.weights(x_TD, plays, read_N, at_ms_N)
        return (weight_NW[:, :, None] * x_TD[event_NW]).sum(1)

    def weights(self, x_TD: Tensor, plays: Plays, read_N: Tensor, at_ms_N: Tensor) -> tuple[Tensor, Tensor]:
        """``(event_NW, weight_NW)``: the events that are read, newest first, and their weights: not negative, of sum 1, and 0
        for an event before the session or followed by a play of the same song."""
        start_T = plays.session_offsets_S1[row_of(plays.session_offsets_S1, x_TD.shape[0])]
        size = int(plays.session_offsets_S1.diff().max()) if x_TD.shape[0] else 1
        event_NW = read_N[:, None] - torch.arange(min(self.config.width, size), device=read_N.device)
        inside_NW = event_NW >= start_T[read_N][:, None]
        event_NW = torch.where(inside_NW, event_NW, read_N[:, None])
        next_T = next_plays(plays.item_T, plays.session_offsets_S1)
        counts_NW = inside_NW & (next_T[event_NW] > read_N[:, None])
        parts = [self._base(plays, read_N, at_ms_N, event_NW)]
        if self.links is not None:
            parts.append(self._spread(self.links, plays, event_NW, counts_NW))
        if self.config.matching:
            parts.append(_matching(x_TD[event_NW], counts_NW))
        active_NWC = torch.stack([part.to(self.mix.dtype) for part in parts], 2).relu() + _LEAST
        raw_NW = (active_NWC * self.mix.relu()).sum(2).clamp(min=_LEAST**2) ** self.config.power * counts_NW
        return event_NW, raw_NW / raw_NW.sum(1, keepdim=True)

    def _base(self, plays: Plays, read_N: Tensor, at_ms_N: Tensor, event_NW: Tensor) -> Tensor:
        offsets, where = plays.user_offsets_B1, row_of(plays.user_offsets_B1, plays.item_T.shape[0])
        place_T = first_plays(plays.item_T, offsets) - offsets[where]
        how, told = self.config, (plays.item_T, plays.time_ms_T, offsets)
        step, pieces = readings_at_once(offsets), [torch.zeros(event_NW[:0].shape, device=event_NW.device)]
        for read_n, at_ms_n, event_nW in zip(read_N.split(step), at_ms_N.split(step), event_NW.split(step)):
            strength_nL = base_level(*told, read_n, at_ms_n, decay=how.decay, floor_s=how.floor_s)
            pieces.append(strength_nL.gather(1, place_T[event_nW]) / strength_nL.sum(1, keepdim=True))
        return torch.cat(pieces)

    def _spread(self, links: SessionLinks, plays: Plays, event_NW: Tensor, counts_NW: Tensor) -> Tensor:
        width = event_NW.shape[1]
        lag_W = torch.arange(width, device=event_NW.device)
        event_T1 = torch.arange(plays.item_T.shape[0], device=event_NW.device)[:, None]
        item_TW = plays.item_T[(event_T1 - lag_W).clamp(min=0)]
        link_TW = links(item_TW[:, :1].expand_as(item_TW), item_TW)
        # Of two places the nearer one is the later event, which knows its link with the one so many places before it.
        later_WW, apart_WW = torch.minimum(lag_W[:, None], lag_W), (lag_W[:, None] - lag_W).abs()
        link_NWW = link_TW[event_NW[:, later_WW], apart_WW]
        return (link_NWW * (counts_NW[:, None] & counts_NW[:, :, None])).sum(2)


def _matching(x_NWD: Tensor, counts_NW: Tensor) -> Tensor:
    """``[N, W]``: each song's cosine with the sum of the others' directions."""
    unit_NWD = F.normalize(x_NWD, dim=2) * counts_NW[:, :, None]
    sum_N1D = unit_NWD.sum(1, keepdim=True)
    return (unit_NWD * (sum_N1D - unit_NWD)).sum(2)
