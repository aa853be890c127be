"""The trials of one model of a study: each setting trained with one seed and judged on the validation part."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from typing import Any

import polars as pl

from hpgr.api.comparing import DIGITS, fitted, training_name
from hpgr.api.study import Bench, DataSet, Study, option_text
from hpgr.api.study_power import asked_users, trials_line
from hpgr.api.tuning import Search, Trial, chosen_sampler, tune
from hpgr.core.config import to_tree
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.card_files import file_name
from hpgr.evaluation.metric_names import named
from hpgr.training.module import TrainingDiverged
from hpgr.training.run import Run, overridden


def trials_of(study: Study, base: Run, store: SequenceStore, asked: DataSet, bench: Bench) -> list[Trial]:
    """The trials of one model; of their checkpoints only those of the best one stay.

    What differences the test part will show is said at the end, where trials were judged and not only read.
    """
    tuning = study.tuning
    assert tuning is not None
    space, metric, sampler = tuning.spaces[base.name], tuning.metric_for(asked), chosen_sampler(tuning.sampler)
    how = asked.measure("validation")
    place, ahead = bench.out / f"seed-{base.seed}", list[tuple[float, str]]()
    options = {path: [option_text(choice) for choice in choices] for path, choices in space.items()}
    values: dict[int, pl.DataFrame] = {}
    key = _digest([to_tree(base), store.manifest["files"], options, tuning.seed, sampler, metric, repr(how)])

    def judge(number: int, setting: dict[str, str]) -> Trial:
        run = overridden(base, [f"{path}={text}" for path, text in setting.items()])
        value, fault, found, began = None, "", metric, time.perf_counter()
        try:
            recommender = fitted(store, run, place, training_name(run), progress=bench.progress)
            card = recommender.evaluate(how=how)[asked.question]
            found, value = _measured(card, metric)
            fault = "" if value is not None else f"{found} is not a number"
            if card.per_user is not None:
                values[number] = card.per_user
        except (TrainingDiverged, ConfigError) as error:
            fault = str(error)
        trial = Trial(
            number=number,
            setting=setting,
            metric=found,
            value=value,
            seconds=time.perf_counter() - began,
            sampler=sampler,
            key=key,
            fault=fault,
        )
        ahead.append((trial.worth, training_name(run)))
        for _, worse in sorted(ahead, key=lambda one: -one[0])[1:]:
            shutil.rmtree(place / "training" / worse, ignore_errors=True)
        bench.say(f"{base.name}: trial {number} of {tuning.trials}, {', '.join(trial.changes)}: {trial.outcome}")
        return trial

    search = Search(space=space, sampler=sampler, seed=tuning.seed, name=base.name)
    trials = tune(search, tuning.trials, key, bench.out / "trials" / file_name(base.name), judge)
    if len(values) > 1 and (line := trials_line(trials, values, asked, asked_users(store, base, asked))):
        bench.say(f"{base.name}: {line}")
    return trials


def _measured(card: ResultCard, metric: str) -> tuple[str, float | None]:
    """A metric of the card, as it is called there; no value where it is no number.

    Raises: UnknownNameError where the card lacks it.
    """
    name = named(metric, card.metrics)
    if name is None:
        raise UnknownNameError.of("metric of the card", metric, card.metrics)
    value = card.metrics[name].value
    return name, value if math.isfinite(value) else None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGITS]
