"""Which epoch was best on validation, its weights, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hpgr.core.errors import DataError, UnknownNameError
from hpgr.training.checkpoint import cpu_copy


class BestWeights:
    """Keeps the weights of the best epoch after the first ``warm_epochs``; ``metric`` and ``patience`` as in the settings."""

    def __init__(self, metric: str, patience: int | None, warm_epochs: int = 0) -> None:
        self.metric = metric
        self._warm_epochs = warm_epochs
        self.value: float | None = None
        self.epoch: int | None = None
        self._patience = patience
        self._epochs_since = 0
        self._weights: dict[str, Tensor] | None = None

    @property
    def exhausted(self) -> bool:
        """No better epoch came for as long as patience allows."""
        return self._patience is not None and self._epochs_since >= self._patience

    def judge(self, values: Mapping[str, float], epoch: int, module: nn.Module) -> None:
        """Take the validation of one epoch, from 1; of equal epochs the first is best.

        Raises: UnknownNameError if the metric is not among ``values``; DataError if it is not finite.
        """
        if self.metric == "auto":
            self.metric = next(iter(values), "auto")
        if self.metric not in values:
            raise UnknownNameError.of("validation metric", self.metric, values)
        value = float(values[self.metric])
        if not math.isfinite(value):
            raise DataError(f"validation metric {self.metric} ({value}) must be finite; validate on more users")
        if epoch <= self._warm_epochs:
            return
        sign = -1 if self.metric.endswith("loss") else 1
        if self.value is None or sign * value > sign * self.value:
            self.value, self.epoch, self._epochs_since = value, epoch, 0
            self._weights = cpu_copy(module.state_dict(), self._weights)
        else:
            self._epochs_since += 1

    def into(self, module: nn.Module) -> None:
        """Give ``module`` the best weights; without any validation it keeps its own."""
        if self._weights is not None:
            module.load_state_dict(self._weights)

    def state(self) -> dict[str, Any]:
        """Plain values and tensors for a checkpoint."""
        return {
            "metric": self.metric,
            "value": self.value,
            "epoch": self.epoch,
            "epochs_since": self._epochs_since,
            "weights": self._weights,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state`` gave."""
        self.metric, self.value, self.epoch = state["metric"], state["value"], state["epoch"]
        self._epochs_since, self._weights = state["epochs_since"], state["weights"]
