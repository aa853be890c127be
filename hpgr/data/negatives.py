"""Negatives drawn from the catalogue, for logs that do not tell what was shown and passed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpgr.core.errors import ConfigError, DataError
from hpgr.data.catalogue import Catalogue


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledNegatives:
    """``negatives`` items drawn, with replacement, for each positive from the rest of the catalogue.

    ``sampler``: ``uniform``, or ``popularity``, in proportion to the training events of each item.
    """

    negatives: int = 20
    sampler: Literal["uniform", "popularity"] = "uniform"

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise ConfigError(f"negatives ({self.negatives}) must be at least 1")
        if self.sampler not in ("uniform", "popularity"):
            raise ConfigError(f"sampler ({self.sampler}) must be uniform or popularity")

    @property
    def name(self) -> str:
        """What a result made with these negatives must say."""
        return f"sampled[{self.sampler} {self.negatives}]"

    def draw(self, catalogue: Catalogue, positive: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """``[n, negatives]`` rows of the catalogue, none of them the row's ``positive [n]`` (``V``: not in it).

        Raises: DataError if the catalogue has no second item.
        """
        if len(catalogue) < 2:
            raise DataError(f"catalogue ({len(catalogue)} item) must have at least two for negatives to be drawn")
        weight = np.ones_like(catalogue.train_count) if self.sampler == "uniform" else catalogue.train_count
        ends, weight = np.cumsum(weight), np.append(weight, 0)
        own, before = weight[positive], np.append(0, ends)[positive]
        ticket = generator.integers(0, (ends[-1] - own)[:, None], (len(positive), self.negatives))
        # Skipping the positive's own share makes every draw a negative.
        ticket += np.where(ticket >= before[:, None], own[:, None], 0)
        return np.searchsorted(ends, ticket, side="right")
