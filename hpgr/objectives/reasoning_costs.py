"""Costs of states that were thought about: ensemble (ERL) and progressive (PRL) learning. Tang et al., 2025, arXiv:2503.22675.

Departs: means over steps where the article sums; the divergence is that of the released code, a mean over ordered pairs whose
second side is held.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets
from hpgr.objectives.costs import FullSoftmax, ItemCost
from hpgr.objectives.losses.softmax import softmax_loss
from hpgr.objectives.losses.step_divergence import step_divergence
from hpgr.objectives.scores import sides


@dataclass(frozen=True, kw_only=True, slots=True)
class Ensemble:
    """The answer is the mean of the steps, which a divergence of weight ``diversity`` keeps apart.

    ``cost``: of a state. ``tau`` divides states where the cost has no temperature of its own. ``supervise``: the cost is that of
    all ``steps``, as in the article, or of their ``mean``, as in the released code.
    """

    cost: ItemCost = field(default_factory=FullSoftmax)
    tau: float = 1.0
    supervise: Literal["steps", "mean"] = "steps"
    diversity: float = 0.05

    def __post_init__(self) -> None:
        _check(self.cost, self.tau)
        if self.supervise not in ("steps", "mean"):
            raise ConfigError(f"supervise ({self.supervise}) must be steps or mean")
        if not self.diversity >= 0:
            raise ConfigError(f"diversity ({self.diversity}) must not be negative")

    @property
    def temperature(self) -> float | None:
        return _temperature(self.cost)

    def answer(self, states: Tensor) -> Tensor:
        """``[N, D]`` of ``[N, K + 1, D]``; what is one vector already is left alone."""
        return states if states.dim() == 2 else states.mean(1) / self.tau

    def logits(self, states: Tensor, items: Targets) -> Tensor:
        return self.cost.logits(self.answer(states), items)

    def loss(self, states: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        if states.dim() == 2:
            return self.cost.loss(states, target_N, items, generator)
        states = states[:, 0] if states.dim() == 4 else states
        held = [self.answer(states)] if self.supervise == "mean" else (states / self.tau).unbind(1)
        total = torch.stack([self.cost.loss(one, target_N, items, generator) for one in held]).mean()
        if not self.diversity or states.shape[1] < 2:
            return total
        states, table_VD = sides(states / self.tau, items.table(), self.temperature)
        return total - self.diversity * step_divergence(states, table_VD, bias_V=items.bias())


@dataclass(frozen=True, kw_only=True, slots=True)
class Progressive:
    """The answer is the last step; earlier ones predict at higher temperatures, ``alpha`` times higher for each step before it.

    ``cost`` and ``tau`` as in ``Ensemble``. ``deep``: weight of the earlier steps. ``contrast``: weight of telling each state
    from those of the other predictions by its noisy copy, where the encoder makes one.
    """

    cost: ItemCost = field(default_factory=FullSoftmax)
    tau: float = 1.0
    alpha: float = 2.0
    deep: float = 1.0
    contrast: float = 1.0

    def __post_init__(self) -> None:
        _check(self.cost, self.tau)
        if not self.alpha > 0:
            raise ConfigError(f"alpha ({self.alpha}) must be positive")
        for name in ("deep", "contrast"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} ({getattr(self, name)}) must not be negative")

    @property
    def temperature(self) -> float | None:
        return _temperature(self.cost)

    def softening(self, num_steps: int) -> list[float]:
        """By what the temperature of each of ``num_steps + 1`` states is multiplied.

        >>> Progressive(alpha=2.0).softening(3)
        [8.0, 4.0, 2.0, 1.0]
        """
        return [self.alpha ** (num_steps - k) for k in range(num_steps + 1)]

    def answer(self, states: Tensor) -> Tensor:
        """``[N, D]`` of ``[N, K + 1, D]``; what is one vector already is left alone."""
        return states if states.dim() == 2 else states[:, -1] / self.tau

    def logits(self, states: Tensor, items: Targets) -> Tensor:
        return self.cost.logits(self.answer(states), items)

    def loss(self, states: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        if states.dim() == 2:
            return self.cost.loss(states, target_N, items, generator)
        clean, noisy = states.unbind(1) if states.dim() == 4 else (states, None)
        costs = [
            self._softer(factor, one, target_N, items, generator)
            for factor, one in zip(self.softening(clean.shape[1] - 1), clean.unbind(1))
        ]
        total = costs[-1]
        if len(costs) > 1 and self.deep:
            total = total + self.deep * torch.stack(costs[:-1]).mean()
        if len(costs) > 1 and self.contrast and noisy is not None:
            total = total + self.contrast * self.telling(clean[:, 1:], noisy[:, 1:])
        return total

    def telling(self, clean_NKD: Tensor, noisy_NKD: Tensor) -> Tensor:
        """Mean over steps of InfoNCE: a noisy state against the clean ones of all predictions."""
        own_N = torch.arange(clean_NKD.shape[0], device=clean_NKD.device)
        told = []
        for clean_ND, noisy_ND in zip(clean_NKD.unbind(1), noisy_NKD.unbind(1)):
            held = sides(noisy_ND / self.tau, clean_ND, self.temperature)
            told.append(softmax_loss(held[0], own_N, held[1]))
        return torch.stack(told).mean()

    def _softer(self, factor: float, states_ND: Tensor, *rest: Any) -> Tensor:
        if self.temperature is None:
            return self.cost.loss(states_ND / (self.tau * factor), *rest)
        cost: Any = replace(self.cost, temperature=self.temperature * factor)  # type: ignore[type-var]
        return cost.loss(states_ND, *rest)


def _temperature(cost: ItemCost) -> float | None:
    return getattr(cost, "temperature", None)


def _check(cost: ItemCost, tau: float) -> None:
    if not tau > 0:
        raise ConfigError(f"tau ({tau}) must be positive")
    if tau != 1 and _temperature(cost) is not None:
        raise ConfigError(f"tau ({tau}) must be 1 where the cost has a temperature; set that of the cost")
