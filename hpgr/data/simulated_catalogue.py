"""The catalogue of the simulated log: items, what follows what, and how popular each is on each day."""

from __future__ import annotations

import numpy as np
import polars as pl

from hpgr.core.seeds import numpy_generator

START_MS = 1_704_067_200_000  # 2024-01-01 00:00 UTC
DAY_MS = 86_400_000
SUCCESSOR_PROBS = np.array([0.5, 0.25, 0.15, 0.1])
_NUM_FOLLOWERS = 2
_OLDEST_DAYS = 120
_ZIPF = 0.9
_QUALITY_WEIGHT = 0.5
_AGE_FLOOR, _AGE_DAYS = 0.2, 12.0
_WORDS_PER_CATEGORY, _WORDS_PER_TEXT = 12, 8
_SYLLABLES = ("ba", "do", "ke", "lu", "mi", "no", "ra", "si", "ta", "ve", "zo", "pel", "gar", "fin", "mor", "tis")


class SimulatedCatalogue:
    """Items sorted by category: category ``c`` owns the rows ``category_offsets[c] … category_offsets[c+1]-1``.

    ``category [V]``; ``quality [V]`` standard normal; ``release_day [V]`` int, the day from whose midnight an item
    can be seen, at most 0 for those there from the start; ``successors [V, 4]`` rows of the same category that tend
    to follow, by ``SUCCESSOR_PROBS``; ``followers [K, K]`` bool: categories whose odds rise after a session of the
    row's category. ``weights [days, V]``: popularity, Zipf by rank inside the category × quality × a decay with age;
    0 before release.
    """

    def __init__(self, *, num_items: int, num_categories: int, days: int, new_item_share: float, seed: int) -> None:
        draw = numpy_generator(seed, "catalogue")
        sizes = np.full(num_categories, num_items // num_categories)
        sizes[: num_items % num_categories] += 1
        self.num_items, self.num_categories, self.days, self.seed = num_items, num_categories, days, seed
        self.category_offsets = np.concatenate([[0], sizes.cumsum()])
        self.category = np.repeat(np.arange(num_categories), sizes)
        self.quality = draw.standard_normal(num_items)
        # An id must not betray its category.
        self.number = draw.permutation(num_items)
        self.release_day = self._release_days(draw, new_item_share)
        start, size = self.category_offsets[self.category], sizes[self.category]
        step = 1 + draw.integers(0, size[:, None] - 1, (num_items, len(SUCCESSOR_PROBS)))
        own = np.arange(num_items) - start
        self.successors = start[:, None] + (own[:, None] + step) % size[:, None]
        self.followers = draw.random((num_categories, num_categories)).argsort(1) < _NUM_FOLLOWERS
        self.weights = self._weights(draw, sizes)
        self._cumulative = np.concatenate([[0.0], self.weights.ravel().cumsum()])
        self.category_weight = np.add.reduceat(self.weights, self.category_offsets[:-1], axis=1)

    def _release_days(self, draw: np.random.Generator, new_item_share: float) -> np.ndarray:
        day = -draw.integers(0, _OLDEST_DAYS, self.num_items)
        is_new = draw.random(self.num_items) < new_item_share
        # Every category has something to show from the first day.
        is_new[self.category_offsets[:-1]] = False
        return np.where(is_new & (self.days > 1), draw.integers(1, max(self.days, 2), self.num_items), day)

    def _weights(self, draw: np.random.Generator, sizes: np.ndarray) -> np.ndarray:
        rank = np.concatenate([draw.permutation(size) for size in sizes]) + 1.0
        base = rank**-_ZIPF * np.exp(_QUALITY_WEIGHT * self.quality)
        age = np.arange(self.days)[:, None] - self.release_day
        decay = _AGE_FLOOR + (1 - _AGE_FLOOR) * np.exp(-np.maximum(age, 0) / _AGE_DAYS)
        return np.where(age >= 0, base * decay, 0.0)

    def popular(self, day: np.ndarray, uniform: np.ndarray, category: np.ndarray | None = None) -> np.ndarray:
        """``[n]`` rows drawn by popularity on ``day [n]``, of ``category [n]`` or of all."""
        first = day * self.num_items
        low = first if category is None else first + self.category_offsets[category]
        high = first + self.num_items if category is None else first + self.category_offsets[category + 1]
        lowest, highest = self._cumulative[low], self._cumulative[high]
        # Rounding must not reach past the last item that has weight.
        at = np.minimum(lowest + uniform * (highest - lowest), np.nextafter(highest, 0))
        return np.searchsorted(self._cumulative, at, side="right") - 1 - first

    def ids(self) -> pl.Series:
        """``[V]`` item ids by row."""
        digits = max(5, len(str(self.num_items - 1)))
        return pl.Series("item_id", [f"i{number:0{digits}d}" for number in self.number.tolist()])

    def frame(self) -> pl.DataFrame:
        """Columns ``item_id, title, categories, text, available_from`` (ms UTC), sorted by id."""
        draw = numpy_generator(self.seed, "words")
        count = _WORDS_PER_CATEGORY * self.num_categories
        words = _words(draw, count)
        picks = draw.integers(0, _WORDS_PER_CATEGORY, (self.num_items, _WORDS_PER_TEXT))
        # One word in eight comes from anywhere, so that text tells the category without spelling it.
        picks = picks + self.category[:, None] * _WORDS_PER_CATEGORY
        picks[:, -1] = draw.integers(0, count, self.num_items)
        texts = [[words[pick] for pick in row] for row in picks.tolist()]
        return pl.DataFrame(
            {
                "item_id": self.ids(),
                "title": [f"{row[0]} {row[1]} {number}".capitalize() for row, number in zip(texts, self.number)],
                "categories": [[f"category {c:02d}"] for c in self.category.tolist()],
                "text": [" ".join(row) for row in texts],
                "available_from": START_MS + self.release_day * DAY_MS,
            }
        ).sort("item_id")


def _words(draw: np.random.Generator, count: int) -> list[str]:
    """Distinct words of as many syllables as it takes, three at least."""
    base = len(_SYLLABLES)
    size = 3
    while base**size < 2 * count:
        size += 1
    numbers = draw.choice(base**size, count, replace=False)
    digits = numbers[:, None] // base ** np.arange(size) % base
    return ["".join(_SYLLABLES[digit] for digit in row) for row in digits.tolist()]
