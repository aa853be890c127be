"""SessionRec and its backbones without each part, asked for the last session and for the order of what was shown in it: five seeds.

hpgr study studies/sessionrec.py --data FOLDER --out runs/sessionrec --only sessionrec
"""

from __future__ import annotations

from hpgr.api.study import DataSet, Study
from hpgr.recipes import recipes


def sessionrec() -> Study:
    recipe = recipes()["ebnerd_sessionrec"]()
    data = {"ebnerd_sessionrec": DataSet.of(recipe), "ebnerd_sessionrec_shown": DataSet.of(recipe, question="rank")}
    return Study.of(recipe, data=data)
