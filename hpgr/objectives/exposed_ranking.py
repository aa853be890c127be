"""What was chosen in a session is to outrank what was shown there and not chosen. Huang et al., 2025, arXiv:2502.10157."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged, offsets_of
from hpgr.objectives import Read, Targets, Task
from hpgr.objectives.before_sessions import before_sessions
from hpgr.objectives.kinds import check_actions, of_kind
from hpgr.objectives.losses.ranking import bpr_costs
from hpgr.objectives.scores import check_temperature, sides


class ExposedRanking(nn.Module):
    """``alpha`` · mean over sessions of ``mean over pairs of log(1 + exp(score of a negative - score of a positive))``.

    Scores are those of the state before the session; it is read apart from the objective, so that dropout falls otherwise.
    Positives are the session's events; negatives what was shown in it with the label 0, is in the catalogue and is none of them.
    A session without either counts for nothing, and a log without exposures teaches nothing.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``alpha``: weight beside the objective's cost; 0: nothing is read. ``actions``: only events of these kinds are
        positives; None: all. ``temperature``: that of the objective's cost, where it has one."""

        needs_causal_sessions: ClassVar[bool] = True

        alpha: float = 0.01
        actions: tuple[int, ...] | None = None
        temperature: float | None = None

        def __post_init__(self) -> None:
            check_actions(self.actions)
            check_temperature(self.temperature)
            if not 0 <= self.alpha < float("inf"):
                raise ConfigError(f"alpha ({self.alpha}) must be finite and not negative")

        @property
        def takes(self) -> Literal["history", "shown"]:
            """What was shown, unless it has no weight."""
            return "shown" if self.alpha else "history"

        def build(self, *, dim: int) -> ExposedRanking:
            return ExposedRanking(self)

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.monitors: dict[str, Tensor] = {}

    def before_epoch(self, read: Read, epoch: int, batches: Iterable[Any], generator: torch.Generator) -> None:
        """Nothing."""

    def forward(
        self, read: Read, batch: tuple[History, Candidates | None], items: Targets, generator: torch.Generator
    ) -> Tensor:
        """The weighted cost; ``shown`` has a row for each session of the history."""
        history, shown = batch
        if not self.config.alpha or shown is None:
            return items.log_share_V.new_zeros(())
        told, read_S = before_sessions(history)
        positives, negatives = self._sides(history, shown, items.num_items)
        asked_S = (read_S >= 0) & (positives.lengths > 0) & (negatives.lengths > 0)
        cost, num_sessions = items.log_share_V.new_zeros(()), asked_S.sum()
        if num_sessions:
            state_SD = read(Task(history=told, hidden_T=None, read_N=read_S[asked_S]))
            scores = [self._scores(state_SD, _rows(side, asked_S), items) for side in (positives, negatives)]
            cost = pair_costs(*scores).mean()
        self.monitors = {"exposed_ranking": cost.detach(), "exposed_sessions": num_sessions.float()}
        return self.config.alpha * cost

    def _sides(self, history: History, shown: Candidates, num_items: int) -> tuple[Jagged, Jagged]:
        """Items of each session that were chosen in it, and those that were shown and not chosen."""
        session_T, session_C = history.session_of_event(), shown.user_of_candidate()
        chosen_T = history.item_idx < num_items
        if self.config.actions is not None:
            chosen_T = chosen_T & of_kind(history.action, self.config.actions)
        pair_T, pair_C = (
            session * (num_items + 1) + item
            for session, item in ((session_T, history.item_idx), (session_C, shown.item_idx))
        )
        passed_C = (shown.item_idx < num_items) & ~torch.isin(pair_C, pair_T[chosen_T])
        if shown.label is not None:
            passed_C &= shown.label[:, 0] == 0
        count = history.session_offsets.shape[0] - 1
        return (
            _kept(history.item_idx, session_T, chosen_T, count),
            _kept(shown.item_idx, session_C, passed_C, count),
        )

    def _scores(self, state_SD: Tensor, rows: Jagged, items: Targets) -> Jagged:
        vector_CD, bias_C = items.rows(rows.values)
        state_SD, vector_CD = sides(state_SD, vector_CD, self.config.temperature)
        # Sums of products in float32 at least, whatever autocast made of the states.
        score_C = (state_SD.to(vector_CD.dtype)[rows.row_of()] * vector_CD).sum(-1)
        return rows.with_values(score_C if bias_C is None else score_C + bias_C)


def pair_costs(positive: Jagged, negative: Jagged) -> Tensor:
    """``[S]``: mean over all pairs of a row's positives and negatives of ``log(1 + exp(negative - positive))``; 0 without any.

    >>> pair_costs(Jagged.from_lengths(torch.zeros(3), [2, 1]), Jagged.from_lengths(torch.zeros(2), [2, 0])).tolist()
    [0.6931471824645996, 0.0]
    """
    row_N, (negative_SM, counts_SM) = positive.row_of(), negative.to_padded()
    cost_N = bpr_costs(positive.values, negative_SM[row_N], counts_SM[row_N])
    sums_S = cost_N.new_zeros(positive.num_rows).index_add(0, row_N, cost_N)
    return sums_S / positive.lengths.clamp(min=1)


def _kept(item_T: Tensor, session_T: Tensor, keep_T: Tensor, count: int) -> Jagged:
    return Jagged(item_T[keep_T], offsets_of(session_T[keep_T].bincount(minlength=count)))


def _rows(items: Jagged, asked_S: Tensor) -> Jagged:
    """Those of the rows in ``asked_S [S]`` bool."""
    return Jagged(items.values[asked_S[items.row_of()]], offsets_of(items.lengths[asked_S]))
