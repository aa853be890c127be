"""HPGR, its controls and the systems it must beat, ranking six public logs and a simulated one: four settings each, five seeds.

    hpgr study studies/rankers.py --data FOLDER --out runs/rankers --only kuairand_clicks --only mtgr

Tens of hours of one core in all, resumable; pre-training is shared by the trials and models that have it in common.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study, Tuning
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.recipes import recipes
from hpgr.recipes.entries import COUNTING

LOGS = (
    "ebnerd_impressions",
    "thirty_music_sampled",
    "kuairand_clicks",
    "trivago_clickouts",
    "online_retail_sampled",
    "online_retail_popular",
    "beauty_sampled",
    "simulated_long",
)


def _data(name: str) -> DataSet:
    # The requests of KuaiRand mostly hold one video: the few users with clicks and skips make GAUC noise.
    return DataSet.of(recipes()[name](), metric="AUC" if name == "kuairand_clicks" else None)


def rankers() -> Study:
    entries = recipes()[LOGS[0]]().entries
    names = [run.name for run in entries]
    rates = {"stages.rank.lr": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3)}
    # Item vectors that clicks say other things of than plays before them must be free to move.
    inherited = rates | {"stages.rank.inherited_lr_ratio": (0.1, 1.0)}
    own = {
        "lightgbm": {"model.num_leaves": (7, 15, 31), "model.min_rows": (100, 500)},
        "sasrec": {"stages.retrieve.lr": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3)},
    }
    pretrained = {run.name: inherited for run in entries if isinstance(run.model, TwoStageRecommender.Config)}
    spaces = {name: (own | pretrained).get(name, rates) for name in names if name not in COUNTING}
    return Study(
        summary="Ranking what was shown: HPGR, its controls, HSTU, MTGR, boosted trees, counting",
        data={name: _data(name) for name in LOGS},
        models={name: lambda data, name=name: data.entry(name) for name in names},
        seeds=(1, 2, 3, 4, 5),
        tuning=Tuning(trials=4, spaces=spaces, sampler="random"),
        factors={f"Beside {name}": (name, "hpgr") for name in ("mtgr", "hstu-ranker", "lightgbm", "sasrec")},
    )
