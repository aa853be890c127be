"""What the contrasts of ICSRec add to the same Transformer on Amazon Beauty: five seeds, intervals over users and seeds.

    hpgr study studies/icsrec.py --data FOLDER --out runs/icsrec

Some hours of a core for each trained row; ``--only icsrec --only backbone`` runs the two that matter most.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def icsrec() -> Study:
    recipe = recipes()["beauty_icsrec"]()
    data = DataSet(
        question=recipe.question,
        split=recipe.entries[0].split,
        source=recipe.source,
        folder=recipe.folder,
        view=recipe.view,
        exclude_seen=recipe.exclude_seen,
    )
    return Study(
        summary="ICSRec with and without its contrasts",
        data={"beauty": data},
        models={run.name: lambda data, run=run: run for run in recipe.entries},
        seeds=(1, 2, 3, 4, 5),
    )
