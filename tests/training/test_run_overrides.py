from __future__ import annotations

from dataclasses import dataclass

import pytest

from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.data.requests import SampledRequests
from hpgr.data.split_rules import LastSession
from hpgr.training.run import Run, overridden
from hpgr.training.settings import StageSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyEncoder:
    dim: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyModel:
    encoder: ToyEncoder


def toy_run() -> Run:
    return Run(
        name="toy",
        model=ToyModel(encoder=ToyEncoder()),
        split=LastSession(),
        candidates=SampledRequests.Config(),
        stages={"rank": StageSettings()},
    )


def test_reaches_every_part_of_the_tree():
    run = overridden(
        toy_run(),
        [
            "seed=3",
            "model.encoder.dim=32",
            "split.targets=first",
            "windows.max_len=50",
            "candidates.negatives.negatives=7",
            "stages.rank.lr=0.004",
            "stages.rank.betas=0.8,0.95",
            "stages.rank.patience=none",
            "stages.rank.limit_batches=7",
            "stages.rank.schedule=cosine",
        ],
    )
    assert (run.seed, run.model.encoder.dim, run.split.targets, run.windows.max_len) == (3, 32, "first", 50)
    assert run.candidates.negatives.negatives == 7
    expected = StageSettings(lr=0.004, betas=(0.8, 0.95), patience=None, limit_batches=7, schedule="cosine")
    assert run.settings("rank") == expected
    assert toy_run().settings("rank") == StageSettings()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.rank.lrr=1", "no option at 'stages.rank.lrr' is named 'lrr'; did you mean lr?"),
        ("stages.rnak.lr=1", "no option at 'stages.rnak.lr' is named 'rnak'; did you mean rank?"),
        ("model.encodr.dim=1", "no option at 'model.encodr.dim' is named 'encodr'; did you mean encoder?"),
        ("stages.rank.schedule=cosin", "did you mean cosine?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(change, message):
    with pytest.raises(UnknownNameError) as caught:
        overridden(toy_run(), [change])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["stages.rank.lr"], "override (stages.rank.lr) must be written as path.to.option=value"),
        (["=3"], "override (=3) must be written as"),
        (["seed="], "override (seed=) must be written as"),
        (["stages..lr=3"], "override (stages..lr=3) must be written as"),
        (["seed=3", "seed=4"], "override (seed=4) must be the only one of seed; it is given as 3 before"),
        (["stages.rank.lr=fast"], "stages.rank.lr (fast) must be a number"),
        (["stages.rank.lr=-1"], "lr (-1.0) must be positive and finite"),
        (["seed=-1"], "seed (-1) must not be negative"),
    ],
)
def test_a_wrong_override_is_one_sentence(changes, message):
    with pytest.raises(ConfigError) as caught:
        overridden(toy_run(), changes)
    assert message in str(caught.value)


def test_a_run_survives_as_a_tree():
    assert from_tree(to_tree(toy_run())) == toy_run()


def test_a_stage_without_settings_is_named():
    with pytest.raises(UnknownNameError, match=r"no settings of a stage is named 'rnk'; did you mean rank\?"):
        toy_run().settings("rnk")
    with pytest.raises(ConfigError, match=r"name \(''\) must not be empty"):
        Run(model=None, name="")
