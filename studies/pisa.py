"""What ACT-R activation and a long-term memory add on music sessions, by repeats and new songs: five seeds.

hpgr study studies/pisa.py --data FOLDER --out runs/pisa --only pisa
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def pisa() -> Study:
    recipe = recipes()["thirty_music_pisa"]()
    factors = {
        "Activation": ("sasrec", "pisa, base level alone", "pisa, no matching", "pisa, no memory", "pisa"),
        "Memory": ("sasrec", "sasrec with memory"),
        "Loss": ("pisa", "pisa bpr"),
        "Counting": ("actr, repeats alone", "actr"),
    }
    return Study.of(recipe, data={"thirty_music_pisa": DataSet.of(recipe)}, factors=factors)
