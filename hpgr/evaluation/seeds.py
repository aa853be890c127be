"""How sure a model is, not one training of it: several seeds, with seeds and users resampled together.

Users are drawn once for all seeds, for they are the same people. Of ``S`` seeds ``S - 1`` are drawn, which makes the variance of the
drawn means that of a mean over ``S`` seeds; ``S`` draws would make it too small by ``(S - 1) / S``.
Source: Owen, Ann. Appl. Stat. 2007 (resampling two crossed factors); Rao & Wu, JASA 1988 (``S - 1`` draws).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from hpgr.core.errors import DataError
from hpgr.core.seeds import numpy_generator
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.comparison import refuse_unlike, user_values
from hpgr.evaluation.intervals import DEFAULT, Bootstrap, Interval, known_values, user_weights
from hpgr.evaluation.power import detectable_difference
from hpgr.evaluation.significance import PATTERNS_A_TEST, holm, same_users, shared_metrics, sign_flip_p

FEW_SEEDS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class OverSeeds:
    """One metric of several trainings of one model.

    ``interval``: the mean over seeds and its nested interval, for metrics that have values of single users. ``values``: the metric of
    each seed; ``spread``: their standard deviation.
    """

    metric: str
    interval: Interval
    values: tuple[float, ...]

    @property
    def spread(self) -> float:
        """Over seeds, with ``S - 1`` below."""
        return float(np.std(self.values, ddof=1))

    @property
    def text(self) -> str:
        """``mean ± spread over S seeds``."""
        return f"{self.interval.value:.4f} ± {self.spread:.4f} over {len(self.values)} seeds"


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedDifference:
    """Second model minus first of one metric, both trained several times.

    ``first`` and ``second``: the metric of each of their seeds. ``interval``: nested, over the seeds of both and the users.
    ``p_value``: two-sided sign flips of the users' differences between the means over seeds, so that of these trainings: what other
    seeds would give is in the interval alone. ``p_holm``: adjusted for the other metrics, or for a whole table. ``detectable``: the
    least true difference that these users and seeds would show with power 0.8 at level 0.05.
    """

    metric: str
    first: tuple[float, ...]
    second: tuple[float, ...]
    interval: Interval
    p_value: float
    p_holm: float
    detectable: float


def over_seeds(cards: Sequence[ResultCard], how: Bootstrap = DEFAULT) -> dict[str, OverSeeds]:
    """Each metric that all ``cards`` have, by name; the cards are one model's, of different seeds.

    Warns below 5 seeds. Raises: DataError with fewer than two cards, and where they are not of one question, config and users, or two
    are of one seed.
    """
    _check(cards)
    frames = [card.per_user for card in cards if card.per_user is not None]
    nested = _nested(_Trained.of([frames]), how) if len(frames) == len(cards) else {}
    shared = [name for name in cards[0].metrics if all(name in card.metrics for card in cards)]
    values = {name: tuple(card.metrics[name].value for card in cards) for name in shared}
    return {
        name: OverSeeds(metric=name, values=found, interval=nested.get(name, Interval(value=float(np.mean(found)))))
        for name, found in values.items()
    }


def difference_over_seeds(
    first: Sequence[ResultCard],
    second: Sequence[ResultCard],
    how: Bootstrap = DEFAULT,
    metrics: Sequence[str] | None = None,
    *,
    tables: int = 1,
) -> list[SeedDifference]:
    """``second - first`` of two models; users are paired, seeds are not: seed 1 of one model is nothing to seed 1 of the other.

    ``metrics``: by default all with values of single users. ``tables``: comparisons like this one that are told together. A user
    without a value in any card is left out of that metric.
    Warns and raises as ``over_seeds`` does, and DataError where the two answer unlike questions or lack values of single users.
    """
    sides = (first, second)
    for cards in sides:
        _check(cards)
    for card in (*first, *second):
        refuse_unlike(first[0], card)
    trained = _Trained.of([[user_values(card) for card in cards] for cards in sides], metrics)
    flips = replace(how, num_samples=max(how.num_samples, PATTERNS_A_TEST * len(trained.names) * tables))
    found = []
    for name, interval in _nested(trained, how).items():
        means, moved_U = [trained.means(side, name) for side in (0, 1)], trained.moved(name)
        # Of both sides' means over seeds together, as the two of one pair of seeds.
        error = sum(np.var(values, ddof=1) / len(values) for values in means) / 2
        found.append(
            SeedDifference(
                metric=name,
                first=means[0],
                second=means[1],
                interval=interval,
                p_value=(p := sign_flip_p(moved_U, how=flips)),
                p_holm=p,
                detectable=detectable_difference(float(np.std(moved_U)), len(moved_U), seed_spread=float(error**0.5)),
            )
        )
    return [replace(one, p_holm=p) for one, p in zip(found, holm([one.p_value for one in found]))]


@dataclass(frozen=True, slots=True)
class _Trained:
    """``values_SUM``, 0 where a metric of a user is unknown in any training; ``side_S``: the model each is of."""

    names: list[str]
    values_SUM: np.ndarray
    known_UM: np.ndarray
    side_S: np.ndarray

    @classmethod
    def of(cls, sides: Sequence[Sequence[pl.DataFrame]], metrics: Sequence[str] | None = None) -> _Trained:
        frames = [frame for side in sides for frame in side]
        names = shared_metrics(frames, metrics)
        pairs = [known_values(frame, names) for frame in same_users(frames)]
        known_UM = np.prod([known for _, known in pairs], axis=0)
        side_S = np.repeat(np.arange(len(sides)), [len(side) for side in sides])
        return cls(names, np.stack([values for values, _ in pairs]) * known_UM, known_UM, side_S)

    def means(self, side: int, name: str) -> tuple[float, ...]:
        """Of each training of one model."""
        m = self.names.index(name)
        return tuple((self.values_SUM[self.side_S == side, :, m].sum(1) / self.known_UM[:, m].sum()).tolist())

    def moved(self, name: str) -> np.ndarray:
        """``[N]``: second minus first mean over seeds, of each user with a value in every card."""
        m = self.names.index(name)
        values_SN = self.values_SUM[:, self.known_UM[:, m] > 0, m]
        return values_SN[self.side_S == 1].mean(0) - values_SN[self.side_S == 0].mean(0)


def _nested(trained: _Trained, how: Bootstrap) -> dict[str, Interval]:
    """The interval of the mean of one model, or of the difference of two, by metric; none where no user has a value."""
    sizes = np.bincount(trained.side_S)
    sign_S = np.where(trained.side_S == len(sizes) - 1, 1.0, -1.0)
    drawn, generator = [], numpy_generator(how.seed, "seeds")
    for weights_nU in user_weights(len(trained.known_UM), how):
        times = [generator.multinomial(size - 1, np.full(size, 1 / size), len(weights_nU)) for size in sizes]
        share_nS = np.concatenate([count / (size - 1) for count, size in zip(times, sizes)], axis=1)
        present_nM = weights_nU @ trained.known_UM
        means_SnM = (weights_nU @ trained.values_SUM) / np.where(present_nM > 0, present_nM, np.nan)
        drawn.append(np.einsum("ns,snm->nm", share_nS * sign_S, means_SnM))
    drawn_nM, tail, found = np.concatenate(drawn), (1 - how.level) / 2, {}
    for m, name in enumerate(trained.names):
        count = int(trained.known_UM[:, m].sum())
        if count:
            value = float((trained.values_SUM[:, :, m].sum(1) * sign_S / sizes[trained.side_S]).sum() / count)
            low, high = np.nanquantile(drawn_nM[:, m], [tail, 1 - tail])
            found[name] = Interval(value=value, low=float(low), high=float(high), num_users=count)
    return found


def _check(cards: Sequence[ResultCard]) -> None:
    if len(cards) < 2:
        raise DataError(f"cards ({len(cards)}) must be of at least 2 seeds; train again with another seed")
    seeds = [card.seeds for card in cards]
    if len(set(seeds)) < len(seeds):
        raise DataError(f"seeds ({', '.join(map(str, seeds))}) must differ from card to card")
    for card in cards[1:]:
        refuse_unlike(cards[0], card)
        if _recipe(card) != _recipe(cards[0]):
            raise DataError(f"config of {card.model} must be that of {cards[0].model} but for the seed")
    if len(cards) < FEW_SEEDS:
        text = f"{len(cards)} seeds of {cards[0].model} say little of the spread over seeds; train at least {FEW_SEEDS}"
        warnings.warn(text, stacklevel=3)


def _recipe(card: ResultCard) -> Any:
    """The config without what tells trainings of one model apart."""
    if not isinstance(card.config, dict):
        return card.config
    return {key: value for key, value in card.config.items() if key not in ("seed", "name")}
