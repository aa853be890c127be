"""A whole run as one value: what is trained, on which part of the data, how, from which seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hpgr.core.config import override
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.data.requests import ExposedRequests, SampledRequests
from hpgr.data.session_parallel import SessionParallelWindows
from hpgr.data.split_rules import GlobalTime, SplitRule
from hpgr.data.windows import TrainWindows
from hpgr.training.settings import StageSettings


def _each_stage() -> dict[str, StageSettings]:
    return {"retrieve": StageSettings(), "rounds": StageSettings(), "rank": StageSettings()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """``model``: the config of a frame. ``windows`` cut the training histories; ``max_len`` holds for requests too.

    ``candidates``: what a ranking stage ranks; none for what was shown where the log tells, else for sampled negatives.
    ``stages``: settings by name of stage; a name that the frame does not have is not used.
    """

    model: Any
    name: str = "run"
    seed: int = 1
    split: SplitRule = field(default_factory=GlobalTime)
    windows: TrainWindows.Config | SessionParallelWindows.Config = field(default_factory=TrainWindows.Config)
    candidates: ExposedRequests.Config | SampledRequests.Config | None = None
    stages: dict[str, StageSettings] = field(default_factory=_each_stage)

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError(f"name ({self.name!r}) must not be empty")
        if self.seed < 0:
            raise ConfigError(f"seed ({self.seed}) must not be negative")

    def settings(self, stage: str) -> StageSettings:
        """Of one stage.

        Raises: UnknownNameError if the run has none for it.
        """
        if stage not in self.stages:
            raise UnknownNameError.of("settings of a stage", stage, self.stages)
        return self.stages[stage]


def overridden(run: Run, changes: Sequence[str]) -> Run:
    """``run`` with options replaced, each written as ``path.to.option=value``.

    Raises: ConfigError where a change is malformed or given twice, or its value is of another type; UnknownNameError,
    with the nearest option, where the path leads nowhere.

    >>> overridden(Run(model=None), ["stages.rank.lr=0.004", "windows.max_len=50"]).settings("rank").lr
    0.004
    """
    texts: dict[str, str] = {}
    for change in changes:
        path, equals, text = (part.strip() for part in change.partition("="))
        if not (equals and text and all(path.split("."))):
            raise ConfigError(
                f"override ({change}) must be written as path.to.option=value, as in stages.rank.lr=0.004"
            )
        if path in texts:
            raise ConfigError(
                f"override ({change}) must be the only one of {path}; it is given as {texts[path]} before"
            )
        texts[path] = text
    return override(run, texts)
