"""Retrieve, then rank: a ranker that begins with what a retriever has learnt. Source: the two stages of HPGR, arXiv:2603.00980."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.frames.ranking import RankingRecommender
from hpgr.frames.scoring import ScoringRecommender
from hpgr.frames.stage import TrainableStage
from hpgr.retrieval import Index


class TwoStageRecommender(nn.Module):
    """Answers both questions: ``scores`` of the catalogue from the first stage, ``logits`` of candidates from the second."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``inherit``: pairs ``"retriever path=ranker path"`` of sub-modules copied when the second stage begins."""

        retriever: ScoringRecommender.Config
        ranker: RankingRecommender.Config
        inherit: tuple[str, ...] = ("items=items",)

        def __post_init__(self) -> None:
            for pair in self.inherit:
                if pair.count("=") != 1:
                    raise ConfigError(f"inherit ({pair}) must be written as FROM=TO, as in items=items")

        def build(self, *, num_items: int) -> TwoStageRecommender:
            return TwoStageRecommender(self, num_items)

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.retriever = config.retriever.build(num_items=num_items)
        self.ranker = config.ranker.build(num_items=num_items)
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

    def query_vectors(self, history: History) -> Tensor:
        """Of the first stage."""
        return self.retriever.query_vectors(history)

    def found(self, history: History, index: Index, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
        """Of the first stage."""
        return self.retriever.found(history, index, k, excluded=excluded)

    def logits(self, history: History, candidates: Candidates) -> Tensor:
        """``[C, tasks]``, from the second stage."""
        return self.ranker.logits(history, candidates)

    @torch.no_grad()
    def inherit(self) -> None:
        """Copy the inherited parts from the retriever into the ranker."""
        for source, target in self._pairs:
            to, learnt = self._states(source, target)
            for name, tensor in to.items():
                tensor.copy_(learnt[name])

    def stages(self) -> tuple[TrainableStage, ...]:
        first = TrainableStage(name="retrieve", module=self.retriever, loss=self.retriever.loss, batches="history")
        second = TrainableStage(
            name="rank",
            module=self.ranker,
            loss=self.ranker.loss,
            batches="candidates",
            inherited=tuple(target + "." for _, target in self._pairs),
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
