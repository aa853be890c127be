"""A recommender that ranks by gradient-boosted trees on cross features: the stand-in for a production ranker.

Ke et al., LightGBM, NeurIPS 2017. Needs the extra ``boost``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError, UnsupportedError
from hpgr.frames.prior import PopularityPrior
from hpgr.frames.stage import TrainableStage

_HOUR_MS = 3_600_000


class BoostedRecommender(nn.Module):
    """Log-odds of one outcome from the candidates' features and four facts of the request.

    Items enter by what is known of them, not by their ids. One thread and a fixed seed make equal fits equal.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``features``: names of the cross features, in order. ``num_trees`` at most, each of ``num_leaves`` leaves that hold
        ``min_rows`` candidates; ``patience``: rounds without a better validation loss before no more are added.
        ``max_rows``: candidates trained on at most, the first ones of the batches."""

        features: tuple[str, ...]
        num_trees: int = 400
        num_leaves: int = 7
        lr: float = 0.05
        min_rows: int = 500
        patience: int = 30
        max_rows: int = 5_000_000

        def __post_init__(self) -> None:
            for name, least in (("num_trees", 1), ("num_leaves", 2), ("min_rows", 1), ("patience", 1), ("max_rows", 1)):
                if getattr(self, name) < least:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least {least}")
            if not 0 < self.lr <= 1:
                raise ConfigError(f"lr ({self.lr}) must lie in (0, 1]")

        def build(self, *, num_items: int) -> BoostedRecommender:
            return BoostedRecommender(self, num_items)

    trees_N: Tensor

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items
        self.prior = PopularityPrior(num_items)
        self.register_buffer("trees_N", torch.zeros(0, dtype=torch.uint8))
        self._booster: Any = None

    def observe(self, counts_V: Tensor) -> None:
        """Take the training counts of the catalogue ``[V]``."""
        self.prior.observe(counts_V)

    def fit(
        self,
        batches: Iterable[tuple[History, Candidates]],
        validation: Iterable[tuple[History, Candidates]] = (),
        *,
        seed: int = 0,
    ) -> int:
        """Grow trees on labelled batches, as many as ``validation`` wants; their number.

        Raises: DataError where no candidate has a label; UnsupportedError without LightGBM.
        """
        lightgbm = _lightgbm()
        x, label = self._table(batches, self.config.max_rows)
        held_x, held_label = self._table(validation, self.config.max_rows)
        if not len(label):
            raise DataError("candidates (0 with labels) must be at least one to train on")
        train = lightgbm.Dataset(x, label)
        watched = [lightgbm.Dataset(held_x, held_label, reference=train)] if len(held_label) else []
        options = {
            "objective": "binary",
            "learning_rate": self.config.lr,
            "num_leaves": self.config.num_leaves,
            "min_data_in_leaf": self.config.min_rows,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbose": -1,
        }
        stop = [lightgbm.early_stopping(self.config.patience, verbose=False)] if watched else []
        grown = lightgbm.train(options, train, self.config.num_trees, valid_sets=watched, callbacks=stop)
        text = grown.model_to_string(num_iteration=grown.best_iteration)
        self.trees_N = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        self._booster = None
        return int(grown.best_iteration or grown.num_trees())

    def logits(self, history: History, candidates: Candidates) -> Tensor:
        """``[C, 1]``: the log-odds of the outcome; of an even chance before ``fit``.

        Raises: DataError if the candidates' features are not as many as the config names; UnsupportedError without LightGBM.
        """
        x = self._columns(history, candidates)
        if not len(self.trees_N) or not len(x):
            return torch.zeros(len(x), 1)
        if self._booster is None:
            self._booster = _lightgbm().Booster(model_str=self.trees_N.numpy().tobytes().decode())
        score = self._booster.predict(x, raw_score=True, num_threads=1)
        return torch.from_numpy(np.asarray(score)).float()[:, None]

    def stages(self) -> tuple[TrainableStage, ...]:
        return ()

    def _columns(self, history: History, candidates: Candidates) -> np.ndarray:
        """``[C, F + 4]``: cross features, events of the history, hours since the last one, hour and day of the request."""
        given, wanted = candidates.features.shape[1], len(self.config.features)
        if given != wanted:
            raise DataError(
                f"candidate features ({given}) must be the {wanted} that the model was built with: {self.config.features}"
            )
        user_C = candidates.user_of_candidate()
        since_B = torch.full((history.num_users,), float("nan"))
        some = history.lengths > 0
        newest = history.time_ms[history.user_offsets[1:][some] - 1]
        since_B[some] = (history.now_ms[some] - newest).clamp(min=0).float() / _HOUR_MS
        hour_C = candidates.time_ms // _HOUR_MS
        facts = (history.lengths[user_C], since_B[user_C], hour_C % 24, hour_C // 24 % 7)
        return np.column_stack([candidates.features.numpy(), *(fact.numpy() for fact in facts)]).astype(np.float32)

    def _table(self, batches: Iterable[tuple[History, Candidates]], limit: int) -> tuple[np.ndarray, np.ndarray]:
        pieces, count = [], 0
        for history, candidates in batches:
            if candidates.label is None:
                continue
            pieces.append((self._columns(history, candidates), candidates.label[:, 0].numpy()))
            count += candidates.num_candidates
            if count >= limit:
                break
        if not pieces:
            return np.zeros((0, len(self.config.features) + 4), dtype=np.float32), np.zeros(0, dtype=np.float32)
        x, label = (np.concatenate(column) for column in zip(*pieces))
        return x[:limit], label[:limit]

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        if prefix + "trees_N" in state:
            self.trees_N = torch.empty_like(state[prefix + "trees_N"])
        self._booster = None
        super()._load_from_state_dict(state, prefix, *rest)


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError:
        raise UnsupportedError(
            "lightgbm (not installed) must be there for this model; pip install 'hpgr[boost]'"
        ) from None
    return lightgbm
