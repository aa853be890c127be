"""Train a frame on material: counts, stages in order, validation after each epoch."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from hpgr.api.asking import rank, retrieve
from hpgr.api.material import Material
from hpgr.api.monitors import selection_monitors
from hpgr.core.errors import ConfigError, DataError
from hpgr.data.history import gather_history
from hpgr.data.keyed_draws import KeyedDraws
from hpgr.data.ranges import chunks, flat_index
from hpgr.data.tie_shuffle import shuffled_ties
from hpgr.evaluation import provenance
from hpgr.evaluation.classification import auc, grouped_auc
from hpgr.evaluation.headlines import FIT
from hpgr.evaluation.metrics import per_query
from hpgr.frames.boosted import BoostedRecommender
from hpgr.frames.ranking import RankingRecommender, features_of
from hpgr.frames.stage import TrainableStage
from hpgr.training.run import Run
from hpgr.training.settings import Housekeeping
from hpgr.training.stages import StageResult, fit_stage

BRANCH_LIMIT = 3.0
"""Norm of the session branch over norm of the items; above it a stage warns."""

_UNTRAINED = (
    "preference selection (by similarity) compares item vectors that no first stage has trained; it was measured far below "
    "dense: train the two-stage model, or set selection to none or selection.by to last"
)

_TREES_ARE_ASKED = 1000
"""Lists of the validation part that decide how many trees there are, spread evenly over it."""


def fit(frame: Any, material: Material, run: Run, keep: Housekeeping | None = None) -> dict[str, StageResult]:
    """Train every stage of ``frame``; the results by name of stage. One that counts or grows trees has none but ``fit``, its time.
    The process's peak of memory counts from here on, where the system lets it.

    Raises: DataError where there is nothing to train on; what ``fit_stage`` raises.
    """
    provenance.forget_peak_memory()
    began = time.perf_counter()
    if hasattr(frame, "observe"):
        frame.observe(torch.from_numpy(material.split.catalogue.train_count))
    if isinstance(frame, BoostedRecommender):
        _grow(frame, material, run)
        return {FIT: _in_one_go(began)}
    if getattr(frame.config, "clock", None) is not None and not material.store.timed:
        raise ConfigError(
            "clock (popularity by times) must have a log with times, and this one has an order only; take popularity"
        )
    if hasattr(frame, "fit"):
        frame.fit(_whole_histories(material))
        return {FIT: _in_one_go(began)}
    if isinstance(frame, RankingRecommender) and selects_by_similarity(frame.config):
        warnings.warn(_UNTRAINED, stacklevel=2)
    if hasattr(frame, "count"):
        frame.count(_whole_histories(material))
    results = {}
    for stage in frame.stages():
        results[stage.name] = fit_stage(
            stage,
            material.training_batches(stage, run),
            settings=run.settings(stage.name),
            seed=run.seed,
            validate=validation(frame, stage, material, run),
            keep=keep,
            asked={
                "config of batches": (
                    run.windows,
                    run.split,
                    run.candidates if stage.batches == "candidates" else None,
                ),
                "files of the store": material.store.manifest["files"],
            },
        )
        ratio = (results[stage.name].curve or ({},))[-1].get("sem_branch_ratio", 0.0)
        if ratio > BRANCH_LIMIT:
            warnings.warn(
                f"sem_branch_ratio of stage {stage.name!r} ({ratio:.1f}) should stay below {BRANCH_LIMIT:g}: the session branch "
                "swamps the items; keep the fusion's norm and a small gain, or switch sem off",
                stacklevel=2,
            )
    return results


def _in_one_go(began: float) -> StageResult:
    return StageResult(
        stage=FIT,
        metric=None,
        best_epoch=None,
        best_value=None,
        curve=(),
        seconds=time.perf_counter() - began,
        steps=0,
        stopped_early=False,
        precision="none",
    )


def _grow(frame: BoostedRecommender, material: Material, run: Run) -> None:
    features = frame.config.features
    try:
        held = [batch[:2] for batch in material.ranked_batches("validation", run, features, _TREES_ARE_ASKED)]
    except DataError as error:
        warnings.warn(f"trees are grown without early stopping: {error}", stacklevel=3)
        held = []
    frame.fit(material.labelled_batches(features, run), held, seed=run.seed)


def selects_by_similarity(config: RankingRecommender.Config) -> bool:
    """Whether a ranker's candidates choose the events that they read by the similarity of item vectors."""
    selection = getattr(config.encoder, "selection", None)
    return selection is not None and selection.by == "similar"


def validation(
    frame: Any, stage: TrainableStage, material: Material, run: Run
) -> Callable[[], dict[str, float]] | None:
    """What is measured of a stage after each epoch, the deciding metric first; None where there is nothing to ask."""
    return _ranking(stage, material, run) if stage.batches == "candidates" else _retrieval(stage, material, run)


def _retrieval(stage: TrainableStage, material: Material, run: Run) -> Callable[[], dict[str, float]] | None:
    queries = material.queries("validation", run.settings(stage.name).questions)
    if not len(queries):
        return None

    def measure() -> dict[str, float]:
        found = retrieve(stage.module, material, queries, max_len=run.windows.max_len, exclude_seen=False, top=1)
        values = per_query(found.counts, list(stage.metrics))
        return {name: float(value.mean()) for name, value in values.items()}

    return measure


def _ranking(stage: TrainableStage, material: Material, run: Run) -> Callable[[], dict[str, float]] | None:
    try:
        batches = material.ranked_batches(
            "validation", run, features_of(stage.module), run.settings(stage.name).questions
        )
    except DataError:
        return None
    if not len(batches):
        return None
    exposures = material.store.exposures
    users = np.asarray(exposures.request_user) if batches.name == "exposed" and exposures is not None else None

    def measure() -> dict[str, float]:
        found = rank(stage.module, batches)
        if not 0 < found.label.mean() < 1:
            raise DataError("validation labels (all the same) must hold both outcomes; move the split's borders")
        inside = grouped_auc(found.score, found.label, users[found.request] if users is not None else found.request)
        first = {"GAUC": inside.mean()} if len(inside.values) else {}
        return first | {"AUC": auc(found.score, found.label)} | selection_monitors(stage.module, batches)

    return measure


def _whole_histories(material: Material) -> Any:
    train = material.split.train
    for first, end in chunks(train.lengths):
        start, stop = train.start[first:end], train.stop[first:end]
        now_ms = np.asarray(material.store.time_ms)[stop - 1]
        longest = int((stop - start).max(initial=1))
        history = gather_history(material.store, material.split.catalogue, start, stop, now_ms, max_len=longest)
        if material.store.ties == "set":
            history = shuffled_ties(history, KeyedDraws(0).uniform("ties", flat_index(start, stop)))
        yield history
