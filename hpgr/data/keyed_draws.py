"""Random numbers by key: the same draw whoever asks, in whatever order and company.

Each draw is a hash of (seed, place, key, counter), so that a user's numbers do not depend on the users beside them.
Source: the finaliser is SplitMix64's (Steele, Lea & Flood, OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np

from hpgr.core.seeds import derive

_KEY_STEP, _COUNTER_STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)


class KeyedDraws:
    """Uniform and normal draws of one seed, by place (what is drawn), key (for whom) and counter (which one)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def uniform(self, place: str, key: np.ndarray, counter: np.ndarray | int = 0) -> np.ndarray:
        """float64 in [0, 1), of the shape that ``key`` and ``counter`` (integers) broadcast to.

        >>> bool(KeyedDraws(1).uniform("x", np.arange(9), 4)[5] == KeyedDraws(1).uniform("x", np.array([5]), 4)[0])
        True
        """
        start = np.uint64(derive(self.seed, place))
        keyed = _mixed(start + np.asarray(key).astype(np.uint64) * _KEY_STEP)
        bits = _mixed(keyed + np.asarray(counter).astype(np.uint64) * _COUNTER_STEP)
        return (bits >> np.uint64(11)) * 2.0**-53

    def normal(self, place: str, key: np.ndarray, counter: np.ndarray | int = 0) -> np.ndarray:
        """float64, mean 0 and variance 1, by Box and Muller."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(f"{place}/radius", key, counter)))
        return radius * np.cos(2 * np.pi * self.uniform(f"{place}/angle", key, counter))


def _mixed(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
