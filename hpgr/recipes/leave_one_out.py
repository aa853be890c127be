"""The protocol of most published tables: the last event of each user is asked, the one before it validates, full ranking.

The history of the test question holds the validation event. Published code leaves out what a user has already had.
"""

from __future__ import annotations

from typing import Any

from hpgr.data.split_rules import LeaveOneOut
from hpgr.data.windows import TrainWindows
from hpgr.recipes.entries import COUNTING
from hpgr.training.run import Run
from hpgr.training.settings import StageSettings

_BY_CLOCK = ("popularity-recent", "popularity-hour")
COUNTS = {name: config for name, config in COUNTING.items() if name not in _BY_CLOCK}
"""Counting baselines that need no times."""

SHORT_HISTORIES = StageSettings(epochs=40, lr=2e-3, patience=5, questions=5000)
"""For users of some eight events, in batches of 1,024 events: of 4,096 an epoch on Beauty would have 38. A thousand questions
leave NDCG@10 a standard error of .006, by which a model that learns slowly is stopped too early."""


def left_out(
    models: dict[str, Any],
    settings: StageSettings | None = None,
    *,
    max_len: int,
    batch_tokens: int = 1024,
    train_on_validation: bool = False,
) -> tuple[Run, ...]:
    """A run for each model by name, all trained under ``settings``; counting models need none."""
    return tuple(
        Run(
            name=name,
            model=model,
            split=LeaveOneOut(train_on_validation=train_on_validation),
            windows=TrainWindows.Config(max_len=max_len, batch_tokens=batch_tokens),
            stages={"retrieve": settings or StageSettings()},
        )
        for name, model in models.items()
    )
