"""What several vectors a user add on Amazon Beauty, to bare items and to a Transformer: five seeds, intervals over users and seeds.

    hpgr study studies/comirec.py --data FOLDER --out runs/comirec

``--only backbone --only "backbone, one attended" --only "backbone, attended"`` runs what matters most.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def comirec() -> Study:
    recipe = recipes()["beauty_comirec"]()
    factors = {
        "Over items": ("comirec, one vector", "comirec"),
        "Routed over items": ("comirec-dr, one vector", "comirec-dr"),
        "Over a Transformer": ("backbone", "backbone, one attended", "backbone, attended", "backbone, routed"),
        "Attended vectors": ("backbone, one attended", "backbone, attended"),
    }
    return Study.of(
        recipe,
        data={"beauty": DataSet.of(recipe)},
        summary="ComiRec, and its heads over a Transformer",
        factors=factors,
    )
