"""SessionRec and its backbones without each part, asked for the last session and for the order of what was shown in it: five seeds.

hpgr study studies/sessionrec.py --data FOLDER --out runs/sessionrec --only sessionrec
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def sessionrec() -> Study:
    recipe = recipes()["ebnerd_sessionrec"]()
    runs = {run.name: run for run in recipe.entries}
    asked = {"ebnerd_sessionrec": recipe.question, "ebnerd_sessionrec_shown": "rank"}
    return Study(
        summary=recipe.summary,
        data={
            name: DataSet(
                question=question,
                split=recipe.entries[0].split,
                source=recipe.source,
                folder=recipe.folder,
                view=recipe.view,
            )
            for name, question in asked.items()
        },
        models={name: lambda data, run=run: run for name, run in runs.items()},
        seeds=(1, 2, 3, 4, 5),
    )
