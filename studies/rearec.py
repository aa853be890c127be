"""What steps of reasoning add to the same Transformer on Amazon Beauty: five seeds, intervals over users and seeds.

    hpgr study studies/rearec.py --data FOLDER --out runs/rearec

A batch of `rearec` takes four to five times as long as one without a step, one of `rearec-ensemble` eight times;
``--only rearec --only 'no step'`` runs the two that matter most.
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def rearec() -> Study:
    recipe = recipes()["beauty_rearec"]()
    factors = {"Steps": ("no step", "rearec, one step", "rearec", "rearec-ensemble")}
    return Study.of(
        recipe, data={"beauty_rearec": DataSet.of(recipe)}, summary="ReaRec with and without its steps", factors=factors
    )
