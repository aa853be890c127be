"""Running means of what a loss reports."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Meter:
    """Sums on the device that values come from, so that adding never waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count scalars in; a name may be missing from some calls."""
        for name, value in values.items():
            value = value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The mean of each name since the last ``clear``."""
        return {name: total.item() / self._counts[name] for name, total in self._sums.items()}

    def clear(self) -> None:
        self._sums, self._counts = {}, {}

    def state(self) -> dict[str, tuple[float, int]]:
        """Sum and count by name."""
        return {name: (total.item(), self._counts[name]) for name, total in self._sums.items()}

    def restore(self, state: Mapping[str, tuple[float, int]], device: torch.device) -> None:
        """Take up what ``state`` gave."""
        self._sums = {name: torch.tensor(total, device=device) for name, (total, _) in state.items()}
        self._counts = {name: count for name, (_, count) in state.items()}
