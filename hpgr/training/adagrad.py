"""Adagrad with momentum, as GRU4Rec is trained with. Duchi et al., JMLR 2011; Hidasi et al., ICLR 2016, arXiv:1511.06939."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Adagrad(torch.optim.Optimizer):
    """``v ← momentum · v - lr · g / √(Σ g² + eps)``, ``w ← (1 - lr · weight_decay) w + v``.

    ``params``: groups, each with its ``lr``. Departs: every row of a table is moved by its momentum, also those that a
    batch does not touch; ``torch.optim.Adagrad`` adds eps to the root and has no momentum.
    """

    def __init__(
        self, params: list[dict[str, Any]], *, momentum: float = 0.0, weight_decay: float = 0.0, eps: float = 1e-6
    ) -> None:
        super().__init__(params, {"momentum": momentum, "weight_decay": weight_decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; gives what ``closure`` gives."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return loss

    def _move(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["squares"] = torch.zeros_like(weight)
            if group["momentum"]:
                state["velocity"] = torch.zeros_like(weight)
        squares = state["squares"]
        squares.addcmul_(weight.grad, weight.grad)
        move = weight.grad / (squares + group["eps"]).sqrt() * -group["lr"]
        if group["momentum"]:
            move = state["velocity"].mul_(group["momentum"]).add_(move)
        if group["weight_decay"]:
            weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(move)
