"""SIGMA and the same without each of its parts: five seeds.

hpgr study studies/sigma.py --data FOLDER --out runs/sigma --only sigma
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def sigma() -> Study:
    recipe = recipes()["beauty_sigma"]()
    factors = {
        "Parts": ("sigma", "sigma, no flip", "sigma, no gate", "sigma, no short branch", "sigma, forward"),
        "Layer": ("sasrec ce", "sigma, forward, every event"),
    }
    return Study.of(recipe, data={"beauty_sigma": DataSet.of(recipe)}, factors=factors)
