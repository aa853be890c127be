"""Steps of learning inside a model: fast parameters move against a cost of their own. Finn et al., ICML 2017, arXiv:1703.03400."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def inner_loop(
    cost: Callable[[Tensor], Tensor],
    fast_ND: Tensor,
    rate: Tensor | float,
    *,
    num_steps: int = 1,
    second_order: bool = True,
) -> Tensor:
    """``[N, D]``: each row after ``num_steps`` of ``fast - rate · ∂cost/∂fast``.

    ``cost`` gives ``[N]``, row by row of its own fast parameters only. With ``second_order`` the gradient of what comes out
    runs through the steps. It works without gradients around it too, but not on tensors made in inference mode.

    >>> inner_loop(lambda fast: fast.square().sum(1), torch.tensor([[1.0], [3.0]]), 0.25).tolist()
    [[0.5], [1.5]]
    """
    for _ in range(num_steps):
        step_ND = torch.func.grad(lambda fast: cost(fast).sum())(fast_ND)
        fast_ND = fast_ND - rate * (step_ND if second_order else step_ND.detach())
    return fast_ND
