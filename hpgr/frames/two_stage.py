"""Retrieve, then rank: a ranker that begins with what a retriever has learnt. Source: the two stages of HPGR, arXiv:2603.00980."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError, UnknownNameError, UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.encoders import Signal
from hpgr.frames.ranking import Opinion, RankingRecommender
from hpgr.frames.ranking_state import Event, RankingState
from hpgr.frames.scoring import ScoringRecommender
from hpgr.frames.stage import TrainableStage
from hpgr.retrieval import Index

Told = Literal["score"]
"""What a first stage can say of a candidate: the score that it would be retrieved with."""


class TwoStageRecommender(nn.Module):
    """Answers both questions: ``scores`` of the catalogue from the first stage, ``logits`` of candidates from the second."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``inherit``: pairs ``"retriever path=ranker path"`` of sub-modules copied when the second stage begins.
        ``told``: what the first stage, kept as it was trained, says of every candidate; the ranker reads it as cross features.
        ``compares``: preference selection holds a candidate against the vectors of the events' items, or against the states
        that the first stage gives the events among their neighbours."""

        retriever: ScoringRecommender.Config
        ranker: RankingRecommender.Config
        inherit: tuple[str, ...] = ("items=items",)
        told: tuple[Told, ...] = ()
        compares: Literal["items", "states"] = "items"

        def __post_init__(self) -> None:
            for pair in self.inherit:
                if pair.count("=") != 1:
                    raise ConfigError(f"inherit ({pair}) must be written as FROM=TO, as in items=items")
            for name in self.told:
                if name not in get_args(Told):
                    raise UnknownNameError.of("told", name, get_args(Told))
            if self.compares not in ("items", "states"):
                raise ConfigError(f"compares ({self.compares}) must be items or states")

        @property
        def hands_over(self) -> bool:
            """Whether the second stage asks the first for more than its weights."""
            return bool(self.told) or self.compares != "items"

        def build(self, *, num_items: int) -> TwoStageRecommender:
            return TwoStageRecommender(self, num_items)

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.retriever = config.retriever.build(num_items=num_items)
        ranker = replace(config.ranker, num_told=len(config.told), given_signal=config.compares != "items")
        self.ranker = ranker.build(num_items=num_items)
        self._pairs = tuple(tuple(pair.split("=")) for pair in config.inherit)
        for source, target in self._pairs:
            self._states(source, target)

    @property
    def num_items(self) -> int:
        return self.retriever.num_items

    def observe(self, counts_V: Tensor) -> None:
        """Take the training counts of the catalogue ``[V]``."""
        self.retriever.observe(counts_V)

    def scores(self, history: History) -> Tensor:
        """``[B, V]``, from the first stage."""
        return self.retriever.scores(history)

    def catalogue_vectors(self) -> tuple[Tensor, Tensor | None]:
        """Of the first stage."""
        return self.retriever.catalogue_vectors()

    def query(self, history: History) -> Tensor:
        """Of the first stage."""
        return self.retriever.query(history)

    def query_vectors(self, history: History, query_BD: Tensor | None = None) -> Tensor:
        """Of the first stage."""
        return self.retriever.query_vectors(history, query_BD)

    def found(self, history: History, index: Index, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
        """Of the first stage."""
        return self.retriever.found(history, index, k, excluded=excluded)

    def logits(self, history: History, candidates: Candidates) -> Tensor:
        """``[C, tasks]``, from the second stage."""
        return self.ranker.logits(history, candidates, self.opinion(history, candidates))

    def begin(self, history: History, query_BD: Tensor | None = None) -> RankingState:
        """What ``score`` needs of histories; with it, what the first stage asks of a candidate at their ``now_ms``: its
        ``query_BD``, where it is at hand."""
        state = self.ranker.begin(history)
        if not self.config.told:
            return state
        with _as_trained(self.retriever), torch.inference_mode():
            return replace(state, query_BD=self.retriever.query(history) if query_BD is None else query_BD)

    def append(self, state: RankingState, event: Event) -> RankingState:
        """The state after one more event, of the second stage.

        Raises: UnsupportedError where ``why_not_appended``; DataError for an event from before the newest one.
        """
        if (why := self.why_not_appended()) is not None:
            raise UnsupportedError(f"the state must be begun again after an event: {why}")
        return self.ranker.append(state, event)

    def score(self, state: RankingState, candidates: Candidates, *, at_once: int = 1024) -> Tensor:
        """``[C, tasks]``, the ``logits`` of the candidates of the state's users.

        Raises: DataError where the first stage says something, and not of the candidates' moment.
        """
        now_B = state.history.now_ms
        if self.config.hands_over and bool((candidates.time_ms != now_B[candidates.user_of_candidate()]).any()):
            told = ", ".join(map(str, now_B.tolist()[:3]))
            raise DataError(
                f"candidates' time_ms must be the state's now_ms ({told}), of which the first stage speaks; begin again"
            )
        opinion = self.opinion(state.history, candidates, state.query_BD)
        return self.ranker.score(state, candidates, opinion=opinion, at_once=at_once)

    @property
    def keeps_states(self) -> bool:
        """Whether ``begin`` and ``score`` work."""
        return self.ranker.keeps_states

    def why_not_appended(self) -> str | None:
        """Why a state must be begun again after an event; None where ``append`` works."""
        if self.config.hands_over:
            return "what the first stage says belongs to the moment that it was asked at"
        return self.ranker.why_not_appended()

    @torch.no_grad()
    def signal(self, history: History, candidates: Candidates) -> Signal:
        """What preference selection compares."""
        if self.config.compares == "items":
            return self.ranker.signal(history, candidates)
        with _as_trained(self.retriever):
            return Signal(
                history_TD=self.retriever.states(history).values,
                candidates_CD=self.retriever.items(candidates.item_idx),
                cold_C=candidates.item_idx >= self.num_items,
            )

    @torch.no_grad()
    def opinion(self, history: History, candidates: Candidates, query_BD: Tensor | None = None) -> Opinion:
        """What the first stage, as it was trained, hands to the second. ``query_BD``: its query, where it is at hand."""
        told_CP = None
        if self.config.told:
            with _as_trained(self.retriever):
                told_CP = self.retriever.candidate_scores(history, candidates, query_BD)[:, None]
        signal = self.signal(history, candidates) if self.config.compares != "items" else None
        return Opinion(told_CP=told_CP, signal=signal)

    @torch.no_grad()
    def inherit(self) -> None:
        """Copy the inherited parts from the retriever into the ranker."""
        for source, target in self._pairs:
            to, learnt = self._states(source, target)
            for name, tensor in to.items():
                tensor.copy_(learnt[name])

    def stages(self) -> tuple[TrainableStage, ...]:
        (first,) = self.retriever.stages()
        module = _Informed(self) if self.config.hands_over else self.ranker
        prefix = "ranker." if self.config.hands_over else ""
        second = TrainableStage(
            name="rank",
            module=module,
            loss=module.loss,
            batches="candidates",
            inherited=tuple(f"{prefix}{target}." for _, target in self._pairs),
            before=self.inherit,
        )
        return first, second

    def _states(self, source: str, target: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        try:
            learnt = self.retriever.get_submodule(source).state_dict(keep_vars=True)
            to = self.ranker.get_submodule(target).state_dict(keep_vars=True)
        except AttributeError as error:
            raise ConfigError(f"inherit ({source}={target}) must name parts of both stages; {error}") from None
        if {n: t.shape for n, t in learnt.items()} != {n: t.shape for n, t in to.items()}:
            raise ConfigError(f"inherit ({source}={target}) must name parts of one shape; their options differ")
        return to, learnt


@contextmanager
def _as_trained(module: nn.Module) -> Iterator[None]:
    """``module`` without dropout, whatever is being trained round it."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


class _Informed(nn.Module):
    """The second stage alone, as it is trained: the first is asked, and no part of what moves or is kept."""

    def __init__(self, whole: TwoStageRecommender) -> None:
        super().__init__()
        self.ranker = whole.ranker
        self.signal = whole.signal
        self._opinion = whole.opinion
        # In a tuple, where it is no part of this module.
        self._first = (whole.retriever,)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> _Informed:
        """A move to another device takes the first stage along."""
        super()._apply(fn, recurse)
        self._first[0]._apply(fn, recurse)
        return self

    def logits(self, history: History, candidates: Candidates) -> Tensor:
        return self.ranker.logits(history, candidates, self._opinion(history, candidates))

    def loss(self, batch: tuple[History, Candidates], generator: torch.Generator) -> dict[str, Tensor]:
        return self.ranker.loss(batch, generator, self._opinion(*batch))
