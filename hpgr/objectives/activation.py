"""ACT-R without a network: what a user hears again and again, and what those songs bring to mind.

Source: Tran et al., RecSys 2024, arXiv:2408.16578, and the baseline "ACTR-Repeat" there. Departs: activation spreads from all
songs of the history, each as active as it is, where the article spreads inside a session.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.nn.session_links import SessionLinks
from hpgr.ops.base_level import check_decay


@dataclass(frozen=True, kw_only=True, slots=True)
class Activation:
    """Every play is asked with ``max(age, floor_s)^-decay``, age in seconds at ``now_ms``, and leads to its own item and,
    ``spread`` times their links, to those of the same sessions (``SessionLinks``)."""

    decay: float = 0.5
    floor_s: float = 1.0
    spread: float = 0.1
    reach: int = 20

    def __post_init__(self) -> None:
        check_decay(self.decay, self.floor_s)
        if not 0 <= self.spread < float("inf"):
            raise ConfigError(f"spread ({self.spread}) must be finite and not negative")
        SessionLinks.Config(reach=self.reach)

    def counter(self, num_items: int) -> ActivationCounter:
        """What reads the training histories."""
        return ActivationCounter(self, num_items)

    def recall(self, history: History) -> tuple[Tensor, Tensor]:
        """``(event_N, weight_N)``: every event; weights float64."""
        age_ms_T = history.now_ms[history.user_of_event()] - history.time_ms
        age_s_T = (age_ms_T.double() / 1000).clamp(min=self.floor_s)
        return torch.arange(history.num_events, device=history.item_idx.device), age_s_T**-self.decay


class ActivationCounter:
    """Keeps the sessions, then counts them."""

    def __init__(self, rule: Activation, num_items: int) -> None:
        self.rule, self.num_items = rule, num_items
        self._sessions: list[tuple[Tensor, Tensor]] = []

    def add(self, history: History) -> None:
        """Take the sessions of ``history``."""
        if self.rule.spread:
            self._sessions.append((history.item_idx, history.session_offsets))

    def links(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(from_N, to_N, weight_N)``: each item's link to itself, of weight 1, and to those of its sessions."""
        links = SessionLinks.Config(reach=self.rule.reach).build()
        links.count(self._sessions)
        self._sessions = []
        from_N, to_N, weight_N = links.links()
        known = (from_N < self.num_items) & (to_N < self.num_items)
        itself = torch.arange(self.num_items)
        from_N, to_N = torch.cat([from_N[known], itself]), torch.cat([to_N[known], itself])
        weight_N = torch.cat([self.rule.spread * weight_N[known], torch.ones(self.num_items)])
        order = (from_N * self.num_items + to_N).argsort()
        return from_N[order], to_N[order], weight_N[order]
