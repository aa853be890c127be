"""What asking in rounds adds to SASRec and SIGMA on Amazon Beauty: five seeds, intervals over users and seeds.

    hpgr study studies/ada_retrieval.py --data FOLDER --out runs/ada_retrieval

Some hours of a core for each trained row; ``--only sasrec --only 'sasrec in rounds'`` runs one base.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def ada_retrieval() -> Study:
    recipe = recipes()["beauty_ada_retrieval"]()
    factors = {
        "SASRec": ("sasrec", "sasrec, trained on", "sasrec in rounds"),
        "SIGMA": ("sigma", "sigma, trained on", "sigma in rounds"),
    }
    return Study.of(
        recipe,
        data={"beauty_ada_retrieval": DataSet.of(recipe)},
        summary="bases asked once and in rounds",
        factors=factors,
    )
