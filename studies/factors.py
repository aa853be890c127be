"""What matters in practice: one factor at a time on a plain causal Transformer, two logs, one plot a factor.

    hpgr study studies/factors.py --data FOLDER --out runs/factors

After Fang, Zhang, Shu & Guo, ACM TOIS 2020, arXiv:1905.01997, who vary a GRU; it evaluates on the events as they are, where
theirs repeats test events that were dwelt on. About thirty rows of three seeds on each log: days of one core, resumable;
``--only`` takes any names, and the same command draws the plots anew from the cards that are there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hpgr.api.study import DataSet, Study
from hpgr.encoders.event_features import EventFeatures
from hpgr.models.sasrec import sasrec
from hpgr.nn.relative_bias import RelativeBias
from hpgr.objectives.costs import ItemCost, SampledBinary
from hpgr.objectives.ranking_costs import Bpr, BprMax, Top1, Top1Max
from hpgr.objectives.sampled_costs import GeneralisedBinary, SampledSoftmax
from hpgr.recipes import recipes
from hpgr.recipes.entries import COUNTING, runs
from hpgr.training.run import Run, overridden
from hpgr.training.settings import StageSettings

LOGS = ("thirty_music_last_session", "ebnerd_reads_last_session")
BASE = "base"
POSITION = "model.encoder.position"
Change = Callable[[Run], Run]


def by_path(*changes: str) -> Change:
    """Options replaced by their paths."""
    return lambda run: overridden(run, changes)


def cost(kind: ItemCost) -> Change:
    """Another cost of the same predictions."""
    return lambda run: replace(run, model=replace(run.model, objective=replace(run.model.objective, cost=kind)))


def trunk(kind: EventFeatures.Config) -> Change:
    """Something told of each event."""
    return lambda run: replace(run, model=replace(run.model, trunk=kind))


def biased(run: Run) -> Run:
    """How far apart two events stand, in places and time, in the place of vectors of places."""
    encoder = replace(run.model.encoder, position=None, bias=RelativeBias.Config())
    return replace(run, model=replace(run.model, encoder=encoder))


def sampled(count: int, alpha: float = 0.0) -> Change:
    """Softmax over so many items that the batch shares, drawn by count^alpha, with logQ."""
    return cost(SampledSoftmax(num_negatives=count, alpha=alpha, log_q=True))


FACTORS: dict[str, dict[str, Change]] = {
    "Side features": {
        "time since the event before": by_path(f"{POSITION}.clock=previous", f"{POSITION}.num_time_buckets=64"),
        "hour of the week": trunk(EventFeatures.Config(week=True)),
    },
    "Loss": {
        "softmax over 512": sampled(512),
        "BPR-max": cost(BprMax(num_negatives=512)),
        "TOP1-max": cost(Top1Max(num_negatives=512)),
        "BPR": cost(Bpr(num_negatives=512)),
        "TOP1": cost(Top1(num_negatives=512)),
        "gBCE": cost(GeneralisedBinary()),
        "BCE, one negative": cost(SampledBinary()),
    },
    "Negatives": {
        "32 uniform": sampled(32),
        "2048 uniform": sampled(2048),
        "512 by root of count": sampled(512, 0.5),
        "512 by count": sampled(512, 1.0),
    },
    "Data augmentation": {
        "windows by length": by_path("windows.sampling=proportional"),
        "thinned windows": by_path("windows.stochastic_length=1.5"),
        "every prefix": by_path("windows.sampling=prefixes", "model.objective.predict=last"),
    },
    "Position": {
        "no places": by_path(f"{POSITION}=none"),
        "places from the start": by_path(f"{POSITION}.order=from_start"),
        "relative places and times": biased,
    },
    "Depth": {f"layers: {n}": by_path(f"model.encoder.num_layers={n}") for n in (1, 3, 4)},
    "Length": {f"events: {n}": by_path(f"windows.max_len={n}") for n in (5, 10, 20, 100)},
}


def _base(data: DataSet) -> Run:
    settings = StageSettings(epochs=16, lr=1e-3, patience=3)
    (run,) = runs({BASE: sasrec()}, split=data.split, max_len=50, retrieve=settings)
    return run


def factors() -> Study:
    changes = {name: change for variants in FACTORS.values() for name, change in variants.items()}
    models = {name: lambda data, change=change: change(_base(data)) for name, change in changes.items()}
    counting = {name: lambda data, model=model: replace(_base(data), model=model) for name, model in COUNTING.items()}
    varied = {name: (BASE, *variants) for name, variants in FACTORS.items()}
    varied["Negatives"] = (BASE, "32 uniform", "softmax over 512", *list(FACTORS["Negatives"])[1:])
    return Study(
        summary="One factor at a time on a causal Transformer",
        data={name: DataSet.of(recipes()[name]()) for name in LOGS},
        models={BASE: _base} | models | counting,
        seeds=(1, 2, 3),
        factors=varied,
    )
