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


class RankingRecommender(nn.Module):
    """History and candidates through one item part and one trunk, then an encoder in which candidates read the history.

    Candidates never see each other: ``logits`` of a candidate do not depend on which others are asked.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``trunk`` gives tokens to history and candidates; ``features``: names of the cross features, in order.

        ``num_actions``: actions a history event may carry, 0 to ignore them. ``num_tasks``: outcomes predicted.
        """

        items: Any
        trunk: Any
        encoder: Any
        head: Any
        features: tuple[str, ...] = ()
        num_actions: int = 0
        num_tasks: int = 1

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
        self.feature_norm = nn.BatchNorm1d(len(config.features), affine=False) if config.features else None
        self.feature_in = nn.Linear(len(config.features), dim) if config.features else None
        self.head = config.head.build(dim=dim, num_features=len(config.features), num_tasks=config.num_tasks)
        if self.actions is not None:
            nn.init.normal_(self.actions.weight, std=0.02)

    def logits(self, history: History, candidates: Candidates) -> Tensor:
        """``[C, tasks]``: the log-odds of each outcome.

        Raises: DataError if the candidates' features are not as many as the config names.
        """
        self._check(candidates)
        x_TD = self.items(history.item_idx)
        x_CD = self.items(candidates.item_idx)
        signal = Signal(
            history_TD=x_TD.detach(), candidates_CD=x_CD.detach(), cold_C=candidates.item_idx >= self.items.num_items
        )
        token_TD = (
            x_TD if self.actions is None else x_TD + self.actions(history.action.clamp(max=self.config.num_actions))
        )
        features_CF = None if self.feature_norm is None else self.feature_norm(candidates.features)
        if self.feature_in is not None:
            x_CD = x_CD + self.feature_in(features_CF)
        tokens = self.trunk(history.jagged(token_TD), history)
        candidate_tokens = Jagged(self.trunk.for_candidates(x_CD), candidates.offsets)
        state_CD = self.encoder(tokens, candidate_tokens, history, candidates, signal)
        return self.head(state_CD, x_CD, features_CF)

    def loss(self, batch: tuple[History, Candidates], generator: torch.Generator) -> dict[str, Tensor]:
        """``{"loss": weighted mean over candidates, ...monitors}``."""
        history, candidates = batch
        if candidates.label is None or candidates.weight is None:
            raise DataError("candidates (without labels) must have labels and weights to be trained on")
        cost = binary_loss(self.logits(history, candidates), candidates.label, candidates.weight)
        return {"loss": cost} | monitors_of(self)

    def stages(self) -> tuple[TrainableStage, ...]:
        return (TrainableStage(name="rank", module=self, loss=self.loss, batches="candidates"),)

    def _check(self, candidates: Candidates) -> None:
        given, wanted = candidates.features.shape[1], len(self.config.features)
        if given != wanted:
            raise DataError(
                f"candidate features ({given}) must be the {wanted} that the model was built with: {self.config.features}"
            )


def features_of(frame: Any) -> tuple[str, ...]:
    """Names of the cross features that a frame's ranker reads; none for a frame without one."""
    return getattr(getattr(frame, "ranker", frame).config, "features", ())
