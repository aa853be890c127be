"""HPGR without, or with another form of, each of its parts: one switch a row, everything else as in the recipe of the log.

    hpgr study studies/ablations.py --data FOLDER --out runs/ablations --only thirty_music_sampled

Rows that share their first stage pre-train once a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hpgr.api.study import DataSet, Study
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.session_rows import SessionRows
from hpgr.objectives.costs import FullSoftmax
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.next_session import NextSession
from hpgr.objectives.set_softmax import SetSoftmax
from hpgr.recipes import recipes
from hpgr.training.run import Run, overridden

LOGS = ("thirty_music_sampled", "online_retail_sampled", "kuairand_clicks", "simulated_long")
SELECTION = "model.ranker.encoder.selection"
SWITCHES = {
    "hpgr": (),
    "no SEM": ("model.retriever.trunk.sem=none",),
    "masked after fusion": ("model.retriever.mask_at=fusion",),
    "whole sessions masked": ("model.retriever.objective.session_mask_prob=0.3",),
    "no opinion": ("model.told=none",),
    "no PGSA": (f"{SELECTION}=none",),
    "multiplicative": ("model.ranker.encoder.gate=multiplicative",),
    "compares states": ("model.compares=states",),
    "newest events": (f"{SELECTION}.by=last",),
    "K 8": (f"{SELECTION}.k=8",),
    "K 64": (f"{SELECTION}.k=64",),
    "hard": (f"{SELECTION}.sigma=0",),
    "sigma 3": (f"{SELECTION}.sigma=3",),
    "sigma learned": (f"{SELECTION}.learn_sigma=true",),
    "score-weighted": (f"{SELECTION}.weighting=score",),
    "query learned": (f"{SELECTION}.weighting=score", f"{SELECTION}.learn_query=true"),
    "similar and recent": (f"{SELECTION}.recency=0.1",),
    "inside sessions": (f"{SELECTION}.same_session=true",),
}


def _switched(changes: tuple[str, ...]) -> Callable[[DataSet], Run]:
    return lambda data: overridden(data.entry("hpgr"), changes)


def _sparse_rows(data: DataSet) -> Run:
    run = data.entry("hpgr")
    ranker = run.model.ranker
    encoder = replace(ranker.encoder, rows=SessionRows())
    return replace(run, model=replace(run.model, ranker=replace(ranker, encoder=encoder)))


def _from_scratch(data: DataSet) -> Run:
    run = data.entry("hpgr")
    return replace(run, model=run.model.ranker)


def _forwards(objective: Any, *, sessions: bool) -> Callable[[DataSet], Run]:
    """Pre-training that predicts what comes, where nothing reads ahead: events by places and times that no later one moves."""

    def run_of(data: DataSet) -> Run:
        run = data.entry("hpgr")
        first = run.model.retriever
        place = TimeAwarePosition.Config(order="from_start", clock="previous")
        sem = replace(first.trunk.sem, causal=True, position=place) if sessions else None
        first = replace(
            first,
            trunk=replace(first.trunk, sem=sem, position=place),
            encoder=replace(first.encoder, causal=True),
            objective=objective,
        )
        return replace(run, model=replace(run.model, retriever=first))

    return run_of


def ablations() -> Study:
    made = {name: recipes()[name]() for name in LOGS}
    return Study(
        summary="HPGR part by part",
        data={name: DataSet.of(recipe) for name, recipe in made.items()},
        models={name: _switched(changes) for name, changes in SWITCHES.items()}
        | {
            "next items": _forwards(NextItem.Config(cost=FullSoftmax(temperature=0.05)), sessions=False),
            "next sessions": _forwards(NextSession.Config(cost=SetSoftmax(temperature=0.05)), sessions=True),
            "session-sparse rows": _sparse_rows,
            "no pre-training": _from_scratch,
        },
        seeds=(1, 2, 3, 4, 5),
    )
