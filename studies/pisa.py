"""What ACT-R activation and a long-term memory add on music sessions, by repeats and new songs: five seeds.

hpgr study studies/pisa.py --data FOLDER --out runs/pisa --only pisa
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def pisa() -> Study:
    recipe = recipes()["thirty_music_pisa"]()
    runs = {run.name: run for run in recipe.entries}
    return Study(
        summary=recipe.summary,
        data={
            "thirty_music_pisa": DataSet(
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
