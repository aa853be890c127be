"""What asking in rounds adds to SASRec and SIGMA on Amazon Beauty: five seeds, intervals over users and seeds.

    hpgr study studies/ada_retrieval.py --data FOLDER --out runs/ada_retrieval

Some hours of a core for each trained row; ``--only sasrec --only 'sasrec in rounds'`` runs one base.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def ada_retrieval() -> Study:
    recipe = recipes()["beauty_ada_retrieval"]()
    data = DataSet(
        question=recipe.question,
        split=recipe.entries[0].split,
        source=recipe.source,
        folder=recipe.folder,
        view=recipe.view,
        exclude_seen=recipe.exclude_seen,
    )
    return Study(
        summary="bases asked once and in rounds",
        data={"beauty": data},
        models={run.name: lambda data, run=run: run for run in recipe.entries},
        seeds=(1, 2, 3, 4, 5),
    )
