"""Which true differences a study will see: said of trials before the test part is asked, and of the first two models that it was asked of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from hpgr.api.study import DataSet, Say
from hpgr.api.tuning import Trial
from hpgr.data.requests import ExposedRequests
from hpgr.data.split import split
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.headlines import main_metrics
from hpgr.evaluation.intervals import metric_columns
from hpgr.evaluation.metric_names import named
from hpgr.evaluation.power import Pilot, power_line
from hpgr.training.run import Run


def trials_line(
    trials: Sequence[Trial], values: Mapping[int, pl.DataFrame], asked: DataSet, num_users: int
) -> str | None:
    """What ``num_users`` show, by the values of single users of the two best ``trials``; None where no metric has such.

    ``values``: by number of a trial, of two at least, on the validation part.
    """
    two = sorted((trial for trial in trials if trial.number in values), key=lambda trial: -trial.worth)[:2]
    frames = [values[trial.number] for trial in two]
    metric = _metric(frames, asked.question, two[0].metric)
    if metric is None:
        return None
    pilot = Pilot.of(frames[0], frames[1], metric)
    return f"by the two best trials on validation, {power_line(metric, pilot, num_users)}"


class Foreseen:
    """Says once for each data set, as soon as two models have the cards of all seeds, which differences such models can show."""

    def __init__(self, num_seeds: int, say: Say) -> None:
        self._num_seeds, self._say = num_seeds, say
        self._cards: dict[str, dict[str, list[ResultCard]]] = {}

    def add(self, data: str, cards: Sequence[ResultCard]) -> None:
        """Take finished cards of one data set."""
        models = self._cards.setdefault(data, {})
        before = self._whole(data)
        for card in cards:
            models.setdefault(card.model, []).append(card)
        whole = self._whole(data)
        if len(before) < 2 <= len(whole):
            line = cards_line(models[whole[0]], models[whole[1]])
            if line is not None:
                self._say(f"{data}, by {whole[0]} and {whole[1]}: {line}")

    def _whole(self, data: str) -> list[str]:
        return [model for model, cards in self._cards[data].items() if len(cards) == self._num_seeds]


def cards_line(first: Sequence[ResultCard], second: Sequence[ResultCard]) -> str | None:
    """What the users and seeds of two models' cards show; None where a card has no values of single users.

    The users' spread is that of the difference of the means over seeds.
    """
    frames = [card.per_user for card in (*first, *second) if card.per_user is not None]
    metric = _metric(frames, first[0].question)
    if metric is None or len(frames) < len(first) + len(second):
        return None
    one, other = _mean(frames[: len(first)], metric), _mean(frames[len(first) :], metric)
    values = [[card.metrics[metric].value for card in cards] for cards in (first, second)]
    spread = float(np.mean([np.var(of, ddof=1) for of in values]) ** 0.5) if len(first) > 1 else 0.0
    users = one.drop_nulls().join(other.drop_nulls(), on="user_id", how="semi")
    return power_line(metric, Pilot.of(one, other, metric), len(users), seed_spread=spread, num_seeds=len(first))


def asked_users(store: SequenceStore, run: Run, asked: DataSet) -> int:
    """How many users the test part will ask about."""
    parts = split(store, run.split)
    if asked.question == "rank" and isinstance(run.candidates, ExposedRequests.Config) and store.exposures is not None:
        users = np.asarray(store.exposures.request_user)[parts.test_requests]
    else:
        users = parts.test.user_idx
    if asked.limit is not None and asked.limit < len(users):
        users = users[np.linspace(0, len(users) - 1, asked.limit).astype(np.int64)]
    return len(np.unique(users))


def _metric(frames: Sequence[pl.DataFrame], question: str, wanted: str = "") -> str | None:
    """``wanted`` where all frames have it, else the first headline that they have: a pooled AUC has no values of single users."""
    known = set.intersection(*(set(metric_columns(frame)) for frame in frames)) if frames else set[str]()
    return named(wanted, known) or next(iter(main_metrics(question, known)), None)


def _mean(frames: Sequence[pl.DataFrame], metric: str) -> pl.DataFrame:
    return pl.concat(frame.select("user_id", metric) for frame in frames).group_by("user_id").agg(pl.col(metric).mean())
