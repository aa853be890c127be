"""SessionRec and its backbones without each part, asked for the last session and for the order of what was shown in it: five seeds.

hpgr study studies/sessionrec.py --data FOLDER --out runs/sessionrec --only sessionrec
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def sessionrec() -> Study:
    recipe = recipes()["ebnerd_sessionrec"]()
    data = {"ebnerd_sessionrec": DataSet.of(recipe), "ebnerd_sessionrec_shown": DataSet.of(recipe, question="rank")}
    factors = {
        "Sessions": (
            "sasrec",
            "sasrec, shown",
            "sasrec, next session",
            "sessionrec, not shown",
            "sessionrec",
            "sessionrec, shown at .1",
        ),
        "Sessions, HSTU": ("hstu, flat", "sessionrec-hstu, not shown", "sessionrec-hstu"),
    }
    return Study.of(recipe, data=data, factors=factors)
