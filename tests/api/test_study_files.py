"""Every file in ``studies`` is whole: its models are made on each of its data sets, and factors name them."""

from __future__ import annotations

from pathlib import Path

import pytest

import hpgr
from hpgr.api.study import DataSet, Study, study_of
from hpgr.api.studying import check, run_of
from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.recipes import recipes

FILES = sorted((Path(hpgr.__file__).parents[1] / "studies").glob("*.py"))


def test_how_many_there_are():
    assert len(FILES) == 13, FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_is_whole(path):
    study = study_of(path)
    check(study)
    assert len(study.seeds) >= 3
    for asked in study.data.values():
        for model in study.models:
            run = run_of(study, asked, model, 1)
            assert from_tree(to_tree(run)) == run
            for stage in run.model.build(num_items=7).stages():
                assert run.settings(stage.name).epochs >= 1


def test_the_factor_study_has_its_factors_on_two_logs():
    study = study_of(next(path for path in FILES if path.stem == "factors"))
    assert list(study.factors) == [
        "Side features",
        "Loss",
        "Negatives",
        "Data augmentation",
        "Position",
        "Depth",
        "Length",
    ]
    assert len(study.data) == 2
    asked = next(iter(study.data.values()))
    runs = {model: run_of(study, asked, model, 1) for model in {m for named in study.factors.values() for m in named}}
    # Each differs from the base, and no two are the same.
    trees = [repr(to_tree(run) | {"name": ""}) for run in runs.values()]
    assert len(set(trees)) == len(runs) == 27


def test_factors_name_models_of_the_study():
    data = {"x": DataSet(question="retrieve", source="simulated")}
    models = {"base": lambda data: None, "other": lambda data: None}
    with pytest.raises(UnknownNameError, match="no model of factor Loss is named 'othr'; did you mean other"):
        Study(data=data, models=models, factors={"Loss": ("base", "othr")})
    with pytest.raises(ConfigError, match=r"models of factor Loss \(base\) must be at least 2"):
        Study(data=data, models=models, factors={"Loss": ("base",)})


def test_a_data_set_of_a_recipe_has_its_runs():
    """Two recipes on one log are told apart by the runs that they have for it."""
    uniform, drawn = (DataSet.of(recipes()[name]()) for name in ("online_retail_sampled", "online_retail_popular"))
    assert uniform.entry("mtgr").candidates.negatives.name == "sampled[uniform 20]"
    assert drawn.entry("mtgr").candidates.negatives.name == "sampled[popularity 20]"
    assert {run.name for run in drawn.entries} == {run.name for run in uniform.entries}
    with pytest.raises(UnknownNameError, match="no entry is named 'mtgrr'; did you mean mtgr"):
        uniform.entry("mtgrr")
