"""The simulated recipe: long histories without a data folder, and the truth's scores that its docstring states."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from hpgr.api.comparing import store_of
from hpgr.api.study import DataSet, Study
from hpgr.api.studying import Bench, opened
from hpgr.cli.main import app
from hpgr.core.errors import ConfigError
from hpgr.data.simulator import Simulator
from hpgr.data.split_rules import GlobalTime
from hpgr.data.store import SequenceStore
from hpgr.evaluation.classification import auc
from hpgr.recipes import recipes, simulated_long

RECIPE = recipes()["simulated_long"]()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> SequenceStore:
    folder = tmp_path_factory.mktemp("simulated")
    return store_of(RECIPE.source, folder / "absent", RECIPE.view, folder / "store")


def test_histories_are_long_and_sessions_many(store):
    lengths = np.diff(store.user_offsets)
    assert len(lengths) > 200
    assert lengths.min() >= 200
    assert 1000 < lengths.max() <= 2000
    assert len(store.session_offsets) - 1 > 50 * len(lengths)


def test_the_truth_has_the_scores_that_the_recipe_states(store):
    split = RECIPE.entries[0].split
    assert isinstance(split, GlobalTime)
    assert isinstance(split.test_from, str)
    border_ms = datetime.fromisoformat(split.test_from).replace(tzinfo=timezone.utc).timestamp() * 1000
    shown = pl.concat(
        pl.DataFrame(
            {
                "user": users.number[users.user_of(lists.event)],
                "time_ms": lists.time_ms,
                "prob": lists.prob,
                "taste": lists.taste_prob,
                "label": lists.label,
            }
        )
        for users in RECIPE.view["config"].build().chunks()
        for lists in [users.exposures()]
    )
    kept = [int(user[1:]) for user in store.users.ids]
    asked = shown.filter((pl.col("time_ms") >= border_ms) & pl.col("user").is_in(kept))
    of_users = [
        auc(user["prob"].to_numpy(), user["label"].to_numpy())
        for user in asked.partition_by("user")
        if user["label"].n_unique() == 2
    ]
    label = asked["label"].to_numpy()
    stated = (
        f"an AUC of {auc(asked['prob'].to_numpy(), label):.3f}".replace("0.", "."),
        f"a GAUC of {np.mean(of_users):.3f}".replace("0.", "."),
        f"tells of it an AUC of {auc(asked['taste'].to_numpy(), label):.3f}".replace("0.", "."),
    )
    for words in stated:
        assert words in str(simulated_long.__doc__), words


def test_a_study_asks_for_a_data_folder_only_where_one_is_read(tmp_path):
    small = {"config": Simulator.Config(num_users=5, num_items=60, num_categories=5, days=5)}
    sets = {
        "simulated": DataSet(question="rank", source="simulated", view=small),
        "music": DataSet(question="rank", source="thirty_music", folder="30music-sample"),
    }
    study = Study(summary="s", data=sets, models={"any": lambda data: RECIPE.entries[0]}, seeds=(1,))
    assert len(opened(study, "simulated", Bench(out=tmp_path)).users) == 5
    with pytest.raises(ConfigError, match=r"^data \(not given\) must be the folder of the data sets"):
        opened(study, "music", Bench(out=tmp_path))


def test_the_command_needs_no_data_folder_for_it(tmp_path, monkeypatch):
    monkeypatch.delenv("HPGR_DATA", raising=False)
    words = ["--out", str(tmp_path), "--only", "popularity", "--json"]
    answer = CliRunner().invoke(app, ["recipes", "simulated_long", *words])
    assert answer.exit_code == 0, answer.stderr
    assert 0.5 < json.loads(answer.stdout)["popularity"]["metrics"]["GAUC"]["value"] < 0.7
    refused = CliRunner().invoke(app, ["recipes", "trivago_clickouts", *words])
    assert refused.exit_code != 0
    assert "data (not given) must be the folder of the data sets" in refused.stderr
