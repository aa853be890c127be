"""EB-NeRD demo, every reader's last session: what sessions as tokens, next sessions as targets and exposures each add to one backbone.

All see the same reads and clicks and are asked for every article of a session that is held out whole. ``shown`` entries also learn from the
lists of the logged weeks, ``next session`` is the flat backbone under SessionRec's objective. Its flat rows predict the next event.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hpgr.data.requests import ExposedRequests
from hpgr.data.split_rules import LastSession
from hpgr.models.sasrec import sasrec
from hpgr.models.sessionrec import sessionrec, sessionrec_hstu
from hpgr.objectives.exposed_ranking import ExposedRanking
from hpgr.objectives.next_item import NextItem
from hpgr.objectives.next_session import NextSession
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import COUNTING, runs
from hpgr.training.settings import StageSettings


def _models() -> dict[str, Any]:
    flat, hstu = sasrec(), sessionrec_hstu(alpha=0.0, max_sessions=200)
    return {
        "sessionrec": sessionrec(),
        "sasrec": flat,
        "sasrec, shown": replace(flat, auxiliary=ExposedRanking.Config()),
        "sasrec, next session": replace(flat, objective=NextSession.Config()),
        "sessionrec, not shown": sessionrec(alpha=0.0),
        "sessionrec, shown at .1": sessionrec(alpha=0.1),
        "hstu, flat": replace(hstu, encoder=hstu.encoder.encoder, objective=NextItem.Config()),
        "sessionrec-hstu, not shown": hstu,
        "sessionrec-hstu": sessionrec_hstu(max_sessions=200),
    }


@RECIPES.register("ebnerd_sessionrec")
def ebnerd_sessionrec() -> Recipe:
    """Retrieval of the whole next session; ``studies/sessionrec.py`` asks for the order of what was shown in it too."""
    return Recipe(
        summary="news reads and clicks, last session as a whole: SessionRec part by part",
        source="ebnerd",
        folder="ebnerd-demo",
        view={"view": "impressions"},
        question="retrieve",
        entries=runs(
            _models() | COUNTING,
            split=LastSession(targets="all"),
            max_len=200,
            candidates=ExposedRequests.Config(batch_tokens=4096),
            retrieve=StageSettings(epochs=16, lr=3e-3, patience=3),
        ),
    )
