"""HPGR without, or with another form of, each of its parts: one switch a row, everything else as in the recipe of the log.

    hpgr study studies/ablations.py --data FOLDER --out runs/ablations --only thirty_music_sampled

Rows that share their first stage pre-train once a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hpgr.api.study import DataSet, Study
from hpgr.nn.session_rows import SessionRows
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


def ablations() -> Study:
    made = {name: recipes()[name]() for name in LOGS}
    return Study(
        summary="HPGR part by part",
        data={name: DataSet.of(recipe) for name, recipe in made.items()},
        models={name: _switched(changes) for name, changes in SWITCHES.items()}
        | {"session-sparse rows": _sparse_rows, "no pre-training": _from_scratch},
        seeds=(1, 2, 3, 4, 5),
    )
