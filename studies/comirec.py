"""What several vectors a user add on Amazon Beauty, to bare items and to a Transformer: five seeds, intervals over users and seeds.

    hpgr study studies/comirec.py --data FOLDER --out runs/comirec

``--only "backbone" --only "backbone, attended"`` runs the pair that matters most.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def comirec() -> Study:
    recipe = recipes()["beauty_comirec"]()
    data = DataSet(
        question=recipe.question,
        split=recipe.entries[0].split,
        source=recipe.source,
        folder=recipe.folder,
        view=recipe.view,
        exclude_seen=recipe.exclude_seen,
    )
    return Study(
        summary="ComiRec, and its heads over a Transformer",
        data={"beauty": data},
        models={run.name: lambda data, run=run: run for run in recipe.entries},
        seeds=(1, 2, 3, 4, 5),
    )
