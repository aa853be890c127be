"""What window queries and distilled transitions add to the same Transformer on Amazon Beauty: five seeds, intervals over users and seeds.

    hpgr study studies/mqsa_ted.py --data FOLDER --out runs/mqsa_ted

Some hours of a core for each trained row; ``--only mqsa_ted --only backbone`` runs the two that matter most.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def mqsa_ted() -> Study:
    recipe = recipes()["beauty_mqsa_ted"]()
    data = DataSet(
        question=recipe.question,
        split=recipe.entries[0].split,
        source=recipe.source,
        folder=recipe.folder,
        view=recipe.view,
        exclude_seen=recipe.exclude_seen,
    )
    return Study(
        summary="MQSA-TED with and without each of its parts",
        data={"beauty": data},
        models={run.name: lambda data, run=run: run for run in recipe.entries},
        seeds=(1, 2, 3, 4, 5),
    )
