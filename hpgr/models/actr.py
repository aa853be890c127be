"""ACT-R memory, counted: the baseline of Tran et al., RecSys 2024, arXiv:2408.16578. Departs: see ``docs/models/pisa.md``."""

from __future__ import annotations

from hpgr.frames.counting import CountingRecommender
from hpgr.frames.registry import MODELS
from hpgr.objectives.activation import Activation


@MODELS.register("actr")
def actr(*, decay: float = 0.5, spread: float = 0.1) -> CountingRecommender.Config:
    """What was heard often and lately, and what comes in sessions with it; ``spread`` 0: repeats alone."""
    return CountingRecommender.Config(rule=Activation(decay=decay, spread=spread))
