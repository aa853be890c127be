"""The run that a model's name stands for on a store: its config with what the log has, and default settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import hpgr.models  # noqa: F401 - fills the registry
from hpgr.core.errors import UnknownNameError
from hpgr.data.requests import ExposedRequests, SampledRequests
from hpgr.data.split_rules import GlobalTime, LastSession, LeaveOneOut, SplitRule
from hpgr.data.store import SequenceStore
from hpgr.data.windows import TrainWindows
from hpgr.frames.ranking import RankingRecommender
from hpgr.frames.registry import MODELS
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.training.run import Run, overridden
from hpgr.training.settings import StageSettings

# The masked-item stage of HPGR wants a larger rate than ranking: docs/models/hpgr.md.
_SETTINGS = {
    "retrieve": StageSettings(epochs=20, lr=3e-3, patience=3),
    "rounds": StageSettings(epochs=10, lr=1e-3, patience=2),
    "rank": StageSettings(epochs=10, lr=1e-3, patience=2),
}


def run_for(
    model: str,
    *,
    num_actions: int = 0,
    exposed: bool = False,
    split: SplitRule | None = None,
    seed: int = 1,
    changes: Sequence[str] = (),
) -> Run:
    """The default run of a registered model, for a log with ``num_actions`` kinds of events; ``changes`` as in ``overridden``.

    ``exposed``: the log tells what was shown, and a ranker learns from that; else from sampled negatives.
    ``split``: a global time split where left out.

    Raises: UnknownNameError, with the nearest name, for a model or an option that does not exist.
    """
    run = Run(
        name=model,
        model=with_actions(MODELS[model](), num_actions),
        seed=seed,
        split=split or GlobalTime(),
        windows=TrainWindows.Config(batch_tokens=2048),
        candidates=ExposedRequests.Config() if exposed else SampledRequests.Config(),
        stages=dict(_SETTINGS),
    )
    return overridden(run, changes)


def split_rule(text: str) -> SplitRule:
    """The split of a word: ``time``, ``last-session`` or ``leave-one-out``; its options are set by path, as ``split.targets``.

    Raises: UnknownNameError for another word.
    """
    rules: dict[str, SplitRule] = {"time": GlobalTime(), "last-session": LastSession(), "leave-one-out": LeaveOneOut()}
    if text not in rules:
        raise UnknownNameError.of("split", text, rules)
    return rules[text]


def with_actions(config: Any, num_actions: int) -> Any:
    """A frame's config whose rankers know as many kinds of events; others are left as they are."""
    if isinstance(config, TwoStageRecommender.Config):
        return replace(config, ranker=replace(config.ranker, num_actions=num_actions))
    if isinstance(config, RankingRecommender.Config):
        return replace(config, num_actions=num_actions)
    return config


def actions_of(store: SequenceStore) -> list[str]:
    """The kinds of events of a store, in the order of their codes from 1."""
    return list(store.manifest["actions"])
