"""An optimiser that keeps one number for each row of an item table, beside the one that moves the rest of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_ROWS_AT_ONCE = 2**16


class ByRows(torch.optim.Optimizer):
    """``inner`` for its own groups; for ``tables``, with the row's gradient ``g``,
    ``s ← s + mean(g²)``, ``w ← w - lr · g / (√s + eps)``: Adagrad whose sum is one number a row.

    ``tables``: groups, each with its ``lr``, of parameters whose first dimension counts items. Gradients may be sparse; rows
    without one stay as they are. Weight decay and momentum of ``inner`` do not reach the tables.
    Source: Mudigere et al., ISCA 2022, arXiv:2104.05158 (row-wise sparse Adagrad).
    """

    def __init__(self, inner: torch.optim.Optimizer, tables: list[dict[str, Any]], *, eps: float = 1e-8) -> None:
        super().__init__([*inner.param_groups, *({**group, "by_rows": True} for group in tables)], {})
        self._inner, self._eps = inner, eps

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; gives what ``closure`` gives."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # A checkpoint that is taken up replaces groups and state: the inner optimiser gets those that hold now.
        self._inner.param_groups = [group for group in self.param_groups if "by_rows" not in group]
        self._inner.state = self.state
        self._inner.step()
        for group in self.param_groups:
            for table in group["params"] if "by_rows" in group else ():
                if table.grad is not None:
                    self._move(table, table.grad, group["lr"])
        return loss

    def _move(self, table: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[table]
        if not state:
            state["squares"] = table.new_zeros(table.shape[0])
        squares_V = state["squares"]
        if gradient.is_sparse:
            gradient = gradient.coalesce()
            rows, values = gradient.indices()[0], gradient.values()
            squares_V.index_add_(0, rows, _mean_square(values))
            table.index_add_(0, rows, self._direction(values, squares_V[rows]), alpha=-lr)
            return
        # In blocks: no second tensor of the table's size.
        for start in range(0, table.shape[0], _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            squares_V[part] += _mean_square(gradient[part])
            table[part] -= lr * self._direction(gradient[part], squares_V[part])

    def _direction(self, values: Tensor, squares: Tensor) -> Tensor:
        return values / (squares.sqrt() + self._eps).view(-1, *[1] * (values.dim() - 1))


def _mean_square(values: Tensor) -> Tensor:
    return values.square().flatten(1).mean(1) if values.dim() > 1 else values.square()


@torch.no_grad()
def clip_sparse(gradients: list[Tensor], limit: float) -> list[Tensor]:
    """The gradients, sparse ones coalesced, scaled down together where their common norm is above ``limit``."""
    whole = [gradient.coalesce() if gradient.is_sparse else gradient for gradient in gradients]
    numbers = [gradient.values() if gradient.is_sparse else gradient for gradient in whole]
    norm = torch.stack([part.norm() for part in numbers]).norm()
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)
    for part in numbers:
        part.mul_(scale)
    return whole
