"""Places found from attention, beside none and a table of them, in DIN and in HSTU's ranker: five seeds.

hpgr study studies/cape.py --data FOLDER --out runs/cape --only cape-din
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def cape() -> Study:
    recipe = recipes()["kuairand_cape"]()
    factors = {
        "Places in DIN": ("din", "din, table of places", "cape-din", "cape-din, counts similar"),
        "Places in HSTU": ("hstu-ranker", "hstu-ranker, contextual"),
    }
    return Study.of(recipe, data={"kuairand_cape": DataSet.of(recipe)}, factors=factors)
