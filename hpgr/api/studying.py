"""Run a study: tune on validation, train the best setting with every seed, ask the test part once each; go on where it broke off.

Under the study's folder stand, for each data set, ``store/``, ``trials/MODEL/NUMBER.json`` and ``seed-N/cards/MODEL``.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hpgr.api.comparing import DIGITS, run_card, store_of
from hpgr.api.study import Bench, DataSet, Study, option_text, study_of
from hpgr.api.study_power import Foreseen
from hpgr.api.study_trials import trials_of
from hpgr.api.tuning import best, chosen_sampler, size
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.card_files import file_name
from hpgr.evaluation.headlines import TRIALS
from hpgr.frames.boosted import BoostedRecommender
from hpgr.training.run import Run, overridden

_Told = tuple[list[str], list[ResultCard]]


def run_study(
    study: Study, bench: Bench, *, only: Sequence[str] = (), workers: int = 1, file: Path | None = None
) -> list[ResultCard]:
    """The card of every data set, model and seed, in that order. ``only``: names of models and data sets to run.

    ``workers`` above 1: so many processes, the trials or a seed of a model each, which read the study from ``file`` again.

    Raises: ConfigError or UnknownNameError, before anything runs, for a study that is not whole.
    """
    check(replace(study, changes=()))
    data, models = chosen(study.data, study.models, only)
    for name in data:
        for model in models:
            run_of(study, study.data[name], model, study.seeds[0])
    if workers > 1 and file is None:
        raise ConfigError(f"workers ({workers}) must be 1 for a study that is not in a file")
    if study.tuning is not None:
        bench.say(f"{study.tuning.trials} trials for each tuned model, by {chosen_sampler(study.tuning.sampler)}")
    for name in data:
        opened(study, name, bench)
    jobs = [(name, model) for name in data for model in models]
    if workers == 1:
        foreseen, cards = Foreseen(len(study.seeds), bench.say), list[ResultCard]()
        for name, model in jobs:
            cards += (finished := model_cards(study, name, model, bench))
            foreseen.add(name, finished)
        return cards
    assert file is not None
    threads = max(1, (os.cpu_count() or 1) // workers)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, torch.set_num_threads, (threads,)) as pool:
        try:
            found = _in_processes(
                study, jobs, bench, lambda *job: pool.submit(_apart, file, study.changes, bench.out, *job)
            )
        finally:
            pool.shutdown(cancel_futures=True)
    return [found[name, model, seed] for name, model in jobs for seed in study.seeds]


def model_cards(
    study: Study, name: str, model: str, bench: Bench, seeds: Sequence[int] | None = None
) -> list[ResultCard]:
    """Tune one model on one data set, then its card for each of ``seeds``; None: those of the study."""
    asked, store, folder = study.data[name], opened(study, name, bench), bench.out / file_name(name)

    def say(line: str) -> None:
        bench.say(f"{name}, {line}")

    base, notes = run_of(study, asked, model, study.seeds[0]), dict[str, Any]()
    space = study.tuning.spaces.get(model) if study.tuning else None
    changes: list[str] = []
    if space:
        trials = trials_of(study, base, store, asked, replace(bench, out=folder, say=say))
        found = best(trials)
        changes = found.changes
        notes = {
            TRIALS: len(trials),
            "tuning sampler": found.sampler,
            "tuning setting": ", ".join(changes),
            f"tuning {found.metric} on validation": found.value,
        }
        if not seeds:
            say(f"{model}: {len(trials)} trials; the best is {', '.join(changes)}: {found.outcome}")
    cards = []
    for seed in study.seeds if seeds is None else seeds:
        run, place = overridden(run_of(study, asked, model, seed), changes), folder / f"seed-{seed}"
        say(f"{model}: seed {seed}")
        cards.append(
            run_card(
                store,
                run,
                asked.measure(),
                place,
                notes=notes,
                say=say,
                progress=bench.progress,
            )
        )
        for finished in place.glob(f"training/{file_name(model)}-{'[0-9a-f]' * DIGITS}"):
            shutil.rmtree(finished, ignore_errors=True)
    return cards


def check(study: Study) -> None:
    """Raise unless every model's run can be made and every setting of its space is one that the run takes.

    Every model that trains, boosted trees too, must have a space where there is tuning, of at least as many settings as there
    are trials.
    """
    for asked in study.data.values():
        for model in study.models:
            run = run_of(study, asked, model, study.seeds[0])
            if study.tuning is None:
                continue
            stages = {stage.name for stage in run.model.build(num_items=2).stages()}
            space = study.tuning.spaces.get(model, {})
            if (stages or isinstance(run.model, BoostedRecommender.Config)) and not space:
                raise ConfigError(f"space of {model} (none) must be given: every model that trains has the same trials")
            if space and size(space) < study.tuning.trials:
                raise ConfigError(
                    f"space of {model} ({size(space)} settings) must hold at least as many as trials ({study.tuning.trials})"
                )
            for path, choices in space.items():
                for choice in choices:
                    overridden(run, [f"{path}={option_text(choice)}"]).model.build(num_items=2)
                stage = path.split(".")[1] if path.startswith("stages.") else None
                if stage is not None and stage not in stages:
                    raise UnknownNameError.of(f"stage of {model}", stage, stages)


def chosen(data: Iterable[str], models: Iterable[str], only: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the data sets and models to run: those named, or all where none of their kind is."""
    for name in only:
        if name not in (*data, *models):
            raise UnknownNameError.of("model or data set of the study", name, [*data, *models])
    sets, kinds = ([name for name in known if name in only] or list(known) for known in (data, models))
    return sets, kinds


def run_of(study: Study, asked: DataSet, model: str, seed: int) -> Run:
    """A model's run on a data set, with the name, split, seed and changes of the study."""
    run = study.models[model](asked)
    if not isinstance(run, Run):
        raise ConfigError(f"model {model} of the study (gave {type(run).__name__}) must be a function that gives a Run")
    return overridden(replace(run, name=model, split=asked.split, seed=seed), study.changes)


def opened(study: Study, name: str, bench: Bench) -> SequenceStore:
    """The store of a data set, built the first time.

    Raises: ConfigError where the set is a public one and nobody said where it lies.
    """
    asked, path = study.data[name], bench.out / file_name(name) / "store"
    if asked.source is not None:
        if bench.data is None and asked.folder and not path.exists():
            raise ConfigError("data (not given) must be the folder of the data sets; give --data or set HPGR_DATA")
        return store_of(asked.source, (bench.data or Path()) / asked.folder, asked.view, path)
    assert asked.build is not None
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        asked.build(path)
    return SequenceStore.open(path)


def _in_processes(
    study: Study, jobs: Sequence[tuple[str, str]], bench: Bench, submit: Callable[..., Future[_Told]]
) -> dict[tuple[str, str, int], ResultCard]:
    """Every card by data set, model and seed; a model's seeds wait for its trials, and nothing else waits."""
    cards, foreseen = dict[tuple[str, str, int], ResultCard](), Foreseen(len(study.seeds), bench.say)
    waiting: dict[Future[_Told], tuple[str, str, tuple[int, ...]]] = {}
    for name, model in jobs:
        tuned = study.tuning is not None and study.tuning.spaces.get(model)
        first: list[tuple[int, ...]] = [()] if tuned else [(seed,) for seed in study.seeds]
        waiting |= {submit(name, model, seeds): (name, model, seeds) for seeds in first}
    while waiting:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            name, model, seeds = waiting.pop(future)
            lines, found = future.result()
            for line in lines:
                bench.say(line)
            cards |= {(name, model, seed): card for seed, card in zip(seeds, found)}
            foreseen.add(name, found)
            if not seeds:
                waiting |= {submit(name, model, (seed,)): (name, model, (seed,)) for seed in study.seeds}
    return cards


def _apart(file: Path, changes: tuple[str, ...], out: Path, name: str, model: str, seeds: tuple[int, ...]) -> _Told:
    """Trials of a model, or its cards of some seeds, in a process of its own: what it said, and the cards."""
    lines: list[str] = []
    cards = model_cards(replace(study_of(file), changes=changes), name, model, Bench(out=out, say=lines.append), seeds)
    return lines, cards
