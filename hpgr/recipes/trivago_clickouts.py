"""trivago, click-outs: which hotel of the page was clicked, on the second afternoon after a day and a half.

No entry reads the place in the list, which three clicks in ten have as the first: training shuffles the lists and the store
forgets their order. The site's order by itself has a GAUC of .786 and an NDCG@10 of .509 on the test part. Nine candidates in ten are
outside the catalogue there. In training only what nobody had chosen yet is outside, at test also what was chosen since: ``is_cold`` means
two things and is no feature.
"""

from __future__ import annotations

from hpgr.data.requests import ExposedRequests
from hpgr.data.split_rules import GlobalTime
from hpgr.frames.ranking import FEATURES
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import COUNTING, rankers, runs
from hpgr.training.settings import StageSettings

_FEATURES = tuple(name for name in FEATURES if name != "is_cold")
_SHOWN = ("shown_hour", "shown_day", "click_rate_day")


@RECIPES.register("trivago_clickouts")
def trivago_clickouts() -> Recipe:
    """Ranking of what was shown, inside sessions: most users have one."""
    return Recipe(
        summary="hotel lists, native sessions, global time, click-out ranking",
        source="trivago_100k",
        folder="trivago-100k",
        question="rank",
        entries=runs(
            rankers((*_FEATURES, *_SHOWN), num_actions=6) | COUNTING,
            split=GlobalTime(valid_from="2018-11-08T06:00", test_from="2018-11-08T12:00"),
            max_len=50,
            candidates=ExposedRequests.Config(batch_tokens=4096),
            retrieve=StageSettings(epochs=8, lr=3e-3),
            rank=StageSettings(epochs=4, limit_batches=80, patience=2),
        ),
    )
