"""What clusters of users add to learning from a few events, on users of MovieLens who are new: five seeds.

    hpgr study studies/clusterseq.py --data FOLDER --out runs/clusterseq

Under an hour of a core a trained row; ``--only clusterseq --only "one start"`` runs the two that matter most.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def clusterseq() -> Study:
    recipe = recipes()["movielens_clusterseq"]()
    factors = {"Clusters": ("one start", "clusterseq")}
    return Study.of(
        recipe,
        data={"movielens": DataSet.of(recipe)},
        summary="Cold users: clusters against one start",
        factors=factors,
    )
