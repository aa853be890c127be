"""What others have published for a model, to stand beside our figure in a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpgr.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """``metrics``: by the name of our metric a value, or the lowest and highest of several reports. ``source``: where they stand.

    >>> Published(metrics={"NDCG@10": (0.1516, 0.1537)}, source="arXiv:2309.07602").text("NDCG@10")
    '0.1516–0.1537'
    """

    metrics: Mapping[str, float | tuple[float, float]]
    source: str

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError(f"source ({self.source!r}) must say where the figures were published")
        if not self.metrics:
            raise ConfigError("metrics (none) must hold at least one published figure")
        for name in self.metrics:
            low, high = self.bounds(name)
            if low > high:
                raise ConfigError(f"published {name} ({low}, {high}) must be a lowest and a highest value")

    def bounds(self, metric: str) -> tuple[float, float]:
        """The lowest and the highest figure of ``metric``.

        Raises: KeyError if there is none.
        """
        value = self.metrics[metric]
        return value if isinstance(value, tuple) else (value, value)

    def text(self, metric: str) -> str:
        """The figure for people, four decimals; ``–`` where there is none."""
        if metric not in self.metrics:
            return "–"
        low, high = self.bounds(metric)
        return f"{low:.4f}" if low == high else f"{low:.4f}–{high:.4f}"
