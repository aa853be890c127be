"""What the contrasts of ICSRec add to the same Transformer on Amazon Beauty: five seeds, intervals over users and seeds.

    hpgr study studies/icsrec.py --data FOLDER --out runs/icsrec

Some hours of a core for each trained row; ``--only icsrec --only backbone`` runs the two that matter most.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def icsrec() -> Study:
    recipe = recipes()["beauty_icsrec"]()
    factors = {
        "Contrasts": ("backbone", "coarse only", "fine only", "icsrec"),
        "By prefixes": ("backbone, prefixes", "icsrec, prefixes"),
    }
    return Study.of(
        recipe, data={"beauty": DataSet.of(recipe)}, summary="ICSRec with and without its contrasts", factors=factors
    )
