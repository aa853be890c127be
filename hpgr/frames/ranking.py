"""A recommender that says how likely each candidate's outcome is: items, trunk, target-aware encoder, head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError
from hpgr.core.jagged import Jagged
from hpgr.encoders import Signal
from hpgr.frames.scoring import monitors_of
from hpgr.frames.stage import TrainableStage
from hpgr.objectives.losses.binary import binary_loss

FEATURES = ("times_seen", "age", "is_new", "is_cold", "popularity", "popularity_day", "popularity_hour")
"""Cross features that every log can give; ``hpgr.data.features`` has more."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Opinion:
    """What an earlier stage hands to a ranker: ``told_CP``, numbers about each candidate, read as further cross features;
    ``signal``, the vectors that preference selection compares in place of the ranker's own."""

    told_CP: Tensor | None = None
    signal: Signal | None = None


class RankingRecommender(nn.Module):
    """History and candidates through one item part and one trunk, then an encoder in which candidates read the history.

    Candidates never see each other: ``logits`` of a candidate do not depend on which others are asked.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``trunk`` gives tokens to history and candidates; ``features``: names of the cross features, in order.

        ``num_actions``: actions a history event may carry, 0 to ignore them. ``num_tasks``: outcomes predicted.
        ``num_told``: numbers that an earlier stage tells of each candidate, read as further cross features.
        """

        items: Any
        trunk: Any
        encoder: Any
        head: Any
        features: tuple[str, ...] = ()
        num_actions: int = 0
        num_tasks: int = 1
        num_told: int = 0

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
        self._check(candidates)
        opinion = opinion or Opinion()
        x_TD = self.items(history.item_idx)
        x_CD = self.items(candidates.item_idx)
        signal = opinion.signal or self._signal(x_TD, x_CD, candidates)
        token_TD = (
            x_TD if self.actions is None else x_TD + self.actions(history.action.clamp(max=self.config.num_actions))
        )
        told_CP = opinion.told_CP
        given_CF = candidates.features if told_CP is None else torch.cat([candidates.features, told_CP], -1)
        features_CF = None if self.feature_norm is None else self.feature_norm(given_CF)
        if self.feature_in is not None:
            x_CD = x_CD + self.feature_in(features_CF)
        tokens = self.trunk(history.jagged(token_TD), history)
        candidate_tokens = Jagged(self.trunk.for_candidates(x_CD), candidates.offsets)
        state_CD = self.encoder(tokens, candidate_tokens, history, candidates, signal)
        return self.head(state_CD, x_CD, features_CF)

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
        cost = binary_loss(self.logits(history, candidates, opinion), candidates.label, candidates.weight)
        return {"loss": cost} | monitors_of(self)

    def stages(self) -> tuple[TrainableStage, ...]:
        return (TrainableStage(name="rank", module=self, loss=self.loss, batches="candidates"),)

    def _signal(self, x_TD: Tensor, x_CD: Tensor, candidates: Candidates) -> Signal:
        cold_C = candidates.item_idx >= self.items.num_items
        return Signal(history_TD=x_TD.detach(), candidates_CD=x_CD.detach(), cold_C=cold_C)

    def _check(self, candidates: Candidates) -> None:
        given, wanted = candidates.features.shape[1], len(self.config.features)
        if given != wanted:
            raise DataError(
                f"candidate features ({given}) must be the {wanted} that the model was built with: {self.config.features}"
            )
