"""Do predicted probabilities match what happened: bins, expected calibration error, calibration ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hpgr.evaluation.classification import checked


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationBin:
    """Predictions between ``low`` and ``high``: their total weight, mean probability and share of clicks."""

    low: float
    high: float
    weight: float
    mean_prob: float
    mean_label: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """``bins`` that hold something, in order. ``error``: expected calibration error, the mean over predictions of
    ``|mean_prob - mean_label|`` of their bin. ``ratio``: sum of probabilities over sum of clicks, 1 is right; NaN
    without a click.

    Source: Naeini et al., AAAI 2015 (error); He et al., ADKDD 2014 (ratio).
    """

    bins: tuple[CalibrationBin, ...]
    error: float
    ratio: float


def calibration(
    prob: np.ndarray,
    label: np.ndarray,
    weight: np.ndarray | None = None,
    *,
    num_bins: int = 10,
    bins: Literal["mass", "width"] = "mass",
) -> Calibration:
    """Calibration over bins of nearly equal numbers of predictions (``mass``), or of equal width on 0 … 1 (``width``).

    Equal predictions are never parted. Click rates are low, so that bins of equal width would put
    nearly all predictions into the first.
    """
    prob, label, weight = checked(prob, label, weight, probabilities=True)
    if bins == "width":
        edges = np.linspace(0, 1, num_bins + 1)[1:-1]
    else:
        edges = np.unique(np.quantile(prob, np.arange(1, num_bins) / num_bins, method="inverted_cdf"))
    place = np.searchsorted(edges, prob, side="left")
    total, probs, labels = (
        np.bincount(place, weights=x, minlength=len(edges) + 1) for x in (weight, weight * prob, weight * label)
    )
    limits = np.concatenate([[0.0], edges, [1.0]])
    table = tuple(
        CalibrationBin(
            low=float(limits[i]),
            high=float(limits[i + 1]),
            weight=float(total[i]),
            mean_prob=float(probs[i] / total[i]),
            mean_label=float(labels[i] / total[i]),
        )
        for i in np.flatnonzero(total > 0)
    )
    clicks = labels.sum()
    return Calibration(
        bins=table,
        error=float(np.abs(probs - labels).sum() / total.sum()),
        ratio=float(probs.sum() / clicks) if clicks else float("nan"),
    )
