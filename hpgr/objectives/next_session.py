"""Predict all items of the session that follows. Huang et al., 2025, arXiv:2502.10157 (SessionRec)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets, Task
from hpgr.objectives.before_sessions import before_sessions
from hpgr.objectives.kinds import check_actions, of_kind
from hpgr.objectives.set_softmax import SetCost, SetSoftmax


class NextSession:
    """The last state of each session but a user's last expects every item of the next one; a request reads the newest event.

    A user's last session is not told at all. Right answers of a session read the same event and stand together in the task;
    an item that comes twice counts twice.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``weigh``: every session counts alike (``sessions``), whatever its length, or every right answer (``events``).
        ``actions``: only events of these kinds are predicted, all are read; None: all. ``cut_prob``: how often a window's last
        session is cut in two at a random place, and its beginning predicts its rest, as requests amid a session need it."""

        needs_causal_sessions: ClassVar[bool] = True

        cost: SetCost = field(default_factory=SetSoftmax)
        weigh: Literal["sessions", "events"] = "sessions"
        actions: tuple[int, ...] | None = None
        cut_prob: float = 0.0

        def __post_init__(self) -> None:
            check_actions(self.actions)
            if self.weigh not in ("sessions", "events"):
                raise ConfigError(f"weigh ({self.weigh}) must be sessions or events")
            if not 0 <= self.cut_prob <= 1:
                raise ConfigError(f"cut_prob ({self.cut_prob}) must lie in [0, 1]")

        def build(self) -> NextSession:
            return NextSession(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cost = config.cost
        self.logits = config.cost.logits

    def training_task(self, history: History, generator: torch.Generator) -> Task:
        """Targets outside the catalogue are not predicted."""
        history, is_cut_B = self._cut(history, generator)
        told, read_S = before_sessions(history)
        told = replace(told, session_open=told.session_open | is_cut_B)
        read_T = read_S[history.session_of_event()]
        asked_T = read_T >= 0
        if self.config.actions is not None:
            asked_T &= of_kind(history.action, self.config.actions)
        return Task(history=told, hidden_T=None, read_N=read_T[asked_T], target_N=history.item_idx[asked_T])

    def request_task(self, history: History) -> Task:
        last_B = (history.user_offsets[1:] - 1).masked_fill(history.lengths == 0, -1)
        return Task(history=history, hidden_T=None, read_N=last_B)

    def loss(self, states_ND: Tensor, task: Task, items: Targets, generator: torch.Generator) -> Tensor:
        assert task.target_N is not None
        known = task.target_N < items.num_items
        states_ND, target_N = states_ND[known], task.target_N[known]
        _, set_N, size_S = task.read_N[known].unique_consecutive(return_inverse=True, return_counts=True)
        states_SD = states_ND[size_S.cumsum(0) - size_S]
        cost_N = self.cost.set_costs(states_SD, set_N, target_N, items, generator)
        if self.config.weigh == "events":
            return cost_N.sum() / max(1, cost_N.shape[0])
        return (cost_N / size_S[set_N]).sum() / max(1, size_S.shape[0])

    def _cut(self, history: History, generator: torch.Generator) -> tuple[History, Tensor]:
        """Some users' last sessions as two, and ``[B]`` bool: whose."""
        if not self.config.cut_prob:
            return history, torch.zeros_like(history.session_open)
        last_B = (history.user_session_offsets()[1:] - 1).clamp(min=0)
        start_B, end_B = history.session_offsets[last_B], history.user_offsets[1:]
        draw_2B = torch.rand((2, history.num_users), generator=generator).to(start_B.device)
        is_cut_B = (draw_2B[0] < self.config.cut_prob) & (history.lengths > 0) & (end_B - start_B > 1)
        place_B = start_B + 1 + (draw_2B[1] * (end_B - start_B - 1)).long()
        offsets = torch.cat([history.session_offsets, place_B.minimum(end_B - 1)[is_cut_B]]).sort().values
        return replace(history, session_offsets=offsets), is_cut_B
