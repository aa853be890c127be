"""The counting baselines, fitted and measured under the run of another model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from hpgr.api.evaluating import Measure
from hpgr.api.recommender import Recommender
from hpgr.api.runs import run_for
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card import ResultCard
from hpgr.training.run import Run

BASELINES = ("popularity", "popularity-recent", "markov", "skip_count", "item_knn", "ease")

EASE_LIMIT = 5000
"""Items of a store above which ``ease`` is left out: it would take longer than the other baselines together."""


def baselines_of(
    run: Run, store: SequenceStore, how: Measure, questions: Sequence[str]
) -> dict[str, dict[str, ResultCard]]:
    """Cards by baseline and question, on the split, windows and candidates of ``run``, so that they share its tables."""
    found = {}
    for name in baselines_for(store):
        config = run_for(name, seed=run.seed).model
        fitted = Recommender(replace(run, name=name, model=config)).fit(store)
        asked = [replace(how, question=cast("object", question)) for question in questions]  # type: ignore[arg-type]
        found[name] = {q: card for one in asked for q, card in fitted.evaluate(how=one).items()}
    return found


def baselines_for(store: SequenceStore) -> tuple[str, ...]:
    """Names of the baselines that are cheap on ``store`` and mean something there; without times nothing is recent."""
    left_out = set() if store.timed else {"popularity-recent"}
    if store.num_items > EASE_LIMIT:
        left_out.add("ease")
    return tuple(name for name in BASELINES if name not in left_out)
