"""A recommender that says how likely each candidate's outcome is: items, trunk, target-aware encoder, head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError, UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.encoders import Signal
from hpgr.frames.monitors import monitors_of
from hpgr.frames.ranking_state import Event, RankingState, some, with_event
from hpgr.frames.stage import TrainableStage
from hpgr.objectives.losses.binary import binary_loss

FEATURES = ("times_seen", "since_seen", "age", "is_new", "is_cold", "popularity", "popularity_day", "popularity_hour")
"""Cross features that every log can give; ``hpgr.data.features`` has more."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Opinion:
    """What an earlier stage hands to a ranker: ``told_CP``, numbers about each candidate, read as further cross features;
    ``signal``, the vectors that preference selection compares in place of the ranker's own."""

    told_CP: Tensor | None = None
    signal: Signal | None = None

    def of(self, start: int, stop: int) -> Opinion:
        """That of the candidates ``start … stop - 1``."""
        told_CP, signal = self.told_CP, self.signal
        return Opinion(
            told_CP=None if told_CP is None else told_CP[start:stop],
            signal=signal
            and replace(signal, candidates_CD=signal.candidates_CD[start:stop], cold_C=signal.cold_C[start:stop]),
        )


class RankingRecommender(nn.Module):
    """History and candidates through one item part and one trunk, then an encoder in which candidates read the history.

    Candidates never see each other: in evaluation ``logits`` of a candidate do not depend on which others are asked. In
    training the norm of the cross features is that of the batch.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``trunk`` gives tokens to history and candidates; ``features``: names of the cross features, in order.

        ``num_actions``: actions a history event may carry, 0 to ignore them. ``num_tasks``: outcomes predicted.
        ``num_told``: numbers that an earlier stage tells of each candidate, read as further cross features.
        ``given_signal``: an earlier stage gives the vectors that selection compares.
        """

        items: Any
        trunk: Any
        encoder: Any
        head: Any
        features: tuple[str, ...] = ()
        num_actions: int = 0
        num_tasks: int = 1
        num_told: int = 0
        given_signal: bool = False

        def __post_init__(self) -> None:
            if self.num_tasks < 1:
                raise ConfigError(f"num_tasks ({self.num_tasks}) must be at least 1")
            if self.num_actions < 0:
                raise ConfigError(f"num_actions ({self.num_actions}) must not be negative")

        def build(self, *, num_items: int) -> RankingRecommender:
            return RankingRecommender(self, num_items)

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.items = config.items.build(num_items=num_items)
        dim = self.items.dim
        self.trunk = config.trunk.build(dim=dim)
        self.encoder = config.encoder.build(dim=dim)
        self.actions = nn.Embedding(config.num_actions + 1, dim) if config.num_actions else None
        num_features = len(config.features) + config.num_told
        self.feature_norm = nn.BatchNorm1d(num_features, affine=False) if num_features else None
        self.feature_in = nn.Linear(num_features, dim) if num_features else None
        self.head = config.head.build(dim=dim, num_features=num_features, num_tasks=config.num_tasks)
        if self.actions is not None:
            nn.init.normal_(self.actions.weight, std=0.02)

    def logits(self, history: History, candidates: Candidates, opinion: Opinion | None = None) -> Tensor:
        """``[C, tasks]``: the log-odds of each outcome. ``opinion``: what an earlier stage hands over.

        Raises: DataError if the candidates' features are not as many as the config names.
        """
        opinion = opinion or Opinion()
        self._check(candidates, opinion)
        x_TD = self.items(history.item_idx)
        tokens = self.trunk(history.jagged(self._acted(x_TD, history.action)), history)
        asked, signal = self._asked(history, x_TD, candidates, opinion)
        state_CD = self.encoder(tokens, asked.tokens, history, candidates, signal)
        return self.head(state_CD, asked.x_CD, asked.features_CF)

    def begin(self, history: History) -> RankingState:
        """What ``score`` needs of histories, asked at their ``now_ms``.

        Raises: UnsupportedError where the encoder keeps nothing between requests.
        """
        if not self.keeps_states:
            raise UnsupportedError(f"no state is kept of this history: {self.encoder.why_not_kept()}")
        with torch.inference_mode():
            x_TD = self.items(history.item_idx)
            tokens = self.trunk(history.jagged(self._acted(x_TD, history.action)), history)
            memory = self.encoder.remember(tokens, history, _nothing_asked(x_TD))
            return RankingState(history=history, signal_TD=x_TD, memory=memory.by_head())

    def append(self, state: RankingState, event: Event) -> RankingState:
        """The state after one more event, as ``begin`` would give it for the longer history.

        Raises: UnsupportedError where ``why_not_appended``; DataError for an event from before the newest one, or a state
        of several users.
        """
        if (why := self.why_not_appended()) is not None:
            raise UnsupportedError(f"the state must be begun again after an event: {why}")
        history = with_event(state.history, event)
        with torch.inference_mode():
            x_1D = self.items(history.item_idx[-1:])
            signal_TD = torch.cat([state.signal_TD, x_1D])
            token_1D = self.trunk.newest(self._acted(x_1D, history.action[-1:]), history)
            memory = self.encoder.extend(state.memory, token_1D, history, _nothing_asked(signal_TD))
        return RankingState(history=history, signal_TD=signal_TD, memory=memory)

    def score(
        self, state: RankingState, candidates: Candidates, *, opinion: Opinion | None = None, at_once: int = 1024
    ) -> Tensor:
        """``[C, tasks]``, the ``logits`` of the state's users' candidates; ``at_once`` of them bound the memory, whatever ``C`` is.

        Raises: ConfigError if ``at_once`` is less than 1; DataError as ``logits``.
        """
        if at_once < 1:
            raise ConfigError(f"at_once ({at_once}) must be at least 1")
        opinion = opinion or Opinion()
        self._check(candidates, opinion)
        count = candidates.num_candidates
        with torch.inference_mode():
            parts = [state.signal_TD.new_zeros((0, self.config.num_tasks))]
            for start in range(0, count, at_once):
                part = some(candidates, start, min(start + at_once, count))
                said = opinion.of(start, min(start + at_once, count))
                asked, signal = self._asked(state.history, state.signal_TD, part, said)
                state_CD = self.encoder.read(state.memory, asked.tokens, state.history, part, signal)
                parts.append(self.head(state_CD, asked.x_CD, asked.features_CF))
            return torch.cat(parts)

    @property
    def keeps_states(self) -> bool:
        """Whether ``begin`` and ``score`` work."""
        return hasattr(self.encoder, "extend")

    def why_not_appended(self) -> str | None:
        """Why a state must be begun again after an event; None where ``append`` works."""
        if not self.keeps_states:
            return str(self.encoder.why_not_kept())
        why: str | None = self.trunk.why_not_appended()
        return why

    def _acted(self, x_TD: Tensor, action_T: Tensor) -> Tensor:
        return x_TD if self.actions is None else x_TD + self.actions(action_T.clamp(max=self.config.num_actions))

    def _asked(self, history: History, x_TD: Tensor, candidates: Candidates, opinion: Opinion) -> tuple[_Asked, Signal]:
        x_CD = self.items(candidates.item_idx)
        signal = opinion.signal or self._signal(x_TD, x_CD, candidates)
        told_CP = opinion.told_CP
        given_CF = candidates.features if told_CP is None else torch.cat([candidates.features, told_CP], -1)
        features_CF = self._normed(given_CF)
        if self.feature_in is not None:
            x_CD = x_CD + self.feature_in(features_CF)
        tokens = Jagged(self.trunk.for_candidates(x_CD, _waited_ms(history, candidates)), candidates.offsets)
        return _Asked(x_CD, features_CF, tokens), signal

    def _normed(self, given_CF: Tensor) -> Tensor | None:
        norm = self.feature_norm
        if norm is None or given_CF.shape[0] != 1:
            return None if norm is None else norm(given_CF)
        # One candidate has no variance: it is held against those that came before it.
        return functional.batch_norm(given_CF, norm.running_mean, norm.running_var, eps=norm.eps)

    def signal(self, history: History, candidates: Candidates) -> Signal:
        """What preference selection compares: the item vectors."""
        return self._signal(self.items(history.item_idx), self.items(candidates.item_idx), candidates)

    def loss(
        self, batch: tuple[History, Candidates], generator: torch.Generator, opinion: Opinion | None = None
    ) -> dict[str, Tensor]:
        """``{"loss": weighted mean over candidates, ...monitors}``."""
        history, candidates = batch
        if candidates.label is None or candidates.weight is None:
            raise DataError("candidates (without labels) must have labels and weights to be trained on")
        if (given := candidates.label.shape[1]) != self.config.num_tasks:
            raise DataError(f"outcomes of a candidate ({given}) must be num_tasks ({self.config.num_tasks})")
        cost = binary_loss(self.logits(history, candidates, opinion), candidates.label, candidates.weight)
        return {"loss": cost} | monitors_of(self)

    def stages(self) -> tuple[TrainableStage, ...]:
        return (TrainableStage(name="rank", module=self, loss=self.loss, batches="candidates"),)

    def _signal(self, x_TD: Tensor, x_CD: Tensor, candidates: Candidates) -> Signal:
        cold_C = candidates.item_idx >= self.items.num_items
        return Signal(history_TD=x_TD.detach(), candidates_CD=x_CD.detach(), cold_C=cold_C)

    def _check(self, candidates: Candidates, opinion: Opinion) -> None:
        told = 0 if opinion.told_CP is None else opinion.told_CP.shape[1]
        if self.config.given_signal and opinion.signal is None:
            raise DataError(
                "opinion of an earlier stage (no vectors to compare) must have those that the ranker was built for; ask the "
                "two-stage model that holds it"
            )
        if told != self.config.num_told:
            raise DataError(
                f"opinion of an earlier stage ({told} numbers a candidate) must have the {self.config.num_told} that the "
                "ranker was built with; ask the two-stage model that holds it"
            )
        given, wanted = candidates.features.shape[1], len(self.config.features)
        if given != wanted:
            raise DataError(
                f"candidate features ({given}) must be the {wanted} that the model was built with: {self.config.features}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Candidates' vectors with their features in them, the normed features, and their tokens."""

    x_CD: Tensor
    features_CF: Tensor | None
    tokens: Jagged


def _nothing_asked(x_TD: Tensor) -> Signal:
    return Signal(history_TD=x_TD.detach(), candidates_CD=x_TD[:0], cold_C=x_TD.new_empty(0, dtype=torch.bool))


def _waited_ms(history: History, candidates: Candidates) -> Tensor:
    """``[C]`` int64: the time between each user's newest event and the candidate; 0 without history."""
    if not history.num_events:
        return torch.zeros_like(candidates.time_ms)
    newest_B = history.time_ms[(history.user_offsets[1:] - 1).clamp(min=0)]
    newest_C, some_C = (x_B[candidates.user_of_candidate()] for x_B in (newest_B, history.lengths > 0))
    return (candidates.time_ms - newest_C).clamp(min=0).masked_fill(~some_C, 0)


def features_of(frame: Any) -> tuple[str, ...]:
    """Names of the cross features that a frame's ranker reads; none for a frame without one."""
    return getattr(getattr(frame, "ranker", frame).config, "features", ())
