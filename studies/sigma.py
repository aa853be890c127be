"""SIGMA and the same without each of its parts: five seeds.

hpgr study studies/sigma.py --data FOLDER --out runs/sigma --only sigma
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def sigma() -> Study:
    recipe = recipes()["beauty_sigma"]()
    runs = {run.name: run for run in recipe.entries}
    return Study(
        summary=recipe.summary,
        data={
            "beauty_sigma": DataSet(
                question=recipe.question,
                split=recipe.entries[0].split,
                source=recipe.source,
                folder=recipe.folder,
                view=recipe.view,
                exclude_seen=recipe.exclude_seen,
            )
        },
        models={name: lambda data, run=run: run for name, run in runs.items()},
        seeds=(1, 2, 3, 4, 5),
    )
