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

BASELINES = ("popularity", "markov", "skip_count")


def baselines_of(
    run: Run, store: SequenceStore, how: Measure, questions: Sequence[str]
) -> dict[str, dict[str, ResultCard]]:
    """Cards by baseline and question, on the split, windows and candidates of ``run``, so that they share its tables."""
    found = {}
    for name in BASELINES:
        config = run_for(name, seed=run.seed).model
        fitted = Recommender(replace(run, name=name, model=config)).fit(store)
        asked = [replace(how, question=cast("object", question)) for question in questions]  # type: ignore[arg-type]
        found[name] = {q: card for one in asked for q, card in fitted.evaluate(how=one).items()}
    return found
