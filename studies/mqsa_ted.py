"""What window queries and distilled transitions add to the same Transformer on Amazon Beauty: five seeds, intervals over users and seeds.

    hpgr study studies/mqsa_ted.py --data FOLDER --out runs/mqsa_ted

Some hours of a core for each trained row; ``--only mqsa_ted --only 'single queries'`` runs the two that matter most.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def mqsa_ted() -> Study:
    recipe = recipes()["beauty_mqsa_ted"]()
    factors = {"Parts": ("single queries", "mqsa only", "ted only", "mqsa_ted")}
    return Study.of(
        recipe,
        data={"beauty_mqsa_ted": DataSet.of(recipe)},
        summary="MQSA-TED with and without each of its parts",
        factors=factors,
    )
