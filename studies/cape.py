"""Places found from attention, beside none and a table of them, in DIN and in HSTU's ranker: five seeds.

hpgr study studies/cape.py --data FOLDER --out runs/cape --only cape-din
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def cape() -> Study:
    recipe = recipes()["kuairand_cape"]()
    runs = {run.name: run for run in recipe.entries}
    return Study(
        summary=recipe.summary,
        data={
            "kuairand_cape": DataSet(
                question=recipe.question,
                split=recipe.entries[0].split,
                source=recipe.source,
                folder=recipe.folder,
                view=recipe.view,
                limit=recipe.limit,
            )
        },
        models={name: lambda data, run=run: run for name, run in runs.items()},
        seeds=(1, 2, 3, 4, 5),
    )
