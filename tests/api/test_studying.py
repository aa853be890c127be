"""Studies: equal trials, the test part asked once a seed, a broken-off study goes on, wrong studies are refused first."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pytest

from hpgr.api import comparing
from hpgr.api.recommender import Recommender
from hpgr.api.runs import run_for
from hpgr.api.study import Bench, DataSet, Study, Tuning, study_of
from hpgr.api.studying import check, run_study
from hpgr.api.tuning import Search, Trial, best, chosen_sampler
from hpgr.core.errors import ConfigError, DataError, UnknownNameError, UnsupportedError
from hpgr.data.log import EventLog
from hpgr.data.simulator import Simulator
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card_files import found_cards
from hpgr.evaluation.standings import standings
from hpgr.training.module import TrainingDiverged

RATES = {"stages.retrieve.lr": (1e-3, 1e-2, 3e-2)}
QUICK = ["windows.max_len=20", "stages.retrieve.epochs=1", "stages.retrieve.limit_batches=2", "model.items.dim=8"]
FILE = """
from hpgr.api.runs import run_for
from hpgr.api.study import DataSet, Study
from hpgr.data.store import SequenceStore

def helper() -> int:
    return 1
"""

TUNED = f"""
import polars as pl

from hpgr.api.runs import run_for
from hpgr.api.study import DataSet, Study, Tuning
from hpgr.data.log import EventLog
from hpgr.data.simulator import Simulator
from hpgr.data.store import SequenceStore

def built(path):
    simulator = Simulator(Simulator.Config(num_users=40, num_items=60, num_categories=5, days=20, seed=5))
    return SequenceStore.build(EventLog.read(pl.concat(list(simulator.frames()))), path, ties="set")

def mine() -> Study:
    return Study(
        data={{"small": DataSet(question="retrieve", build=built)}},
        models={{
            "sasrec": lambda data: run_for("sasrec", changes={QUICK}),
            "popularity": lambda data: run_for("popularity"),
        }},
        tuning=Tuning(trials=2, spaces={{"sasrec": {RATES}}}, sampler="random"),
    )
"""


@pytest.fixture(scope="module")
def log():
    simulator = Simulator(Simulator.Config(num_users=40, num_items=60, num_categories=5, days=20, seed=5))
    return pl.concat(list(simulator.frames())).filter(pl.col("label").is_null()).drop("label")


@pytest.fixture
def study(log):
    def build(path):
        return SequenceStore.build(EventLog.read(log), path, ties="set")

    def layers(count):
        return lambda data: run_for("sasrec", changes=[*QUICK, f"model.encoder.num_layers={count}"])

    return Study(
        data={"small": DataSet(question="retrieve", build=build)},
        models={"one": layers(1), "two": layers(2), "popularity": lambda data: run_for("popularity")},
        seeds=(1, 2),
        tuning=Tuning(trials=2, spaces={"one": RATES, "two": RATES}, sampler="random"),
    )


@pytest.fixture
def asked(monkeypatch):
    """What was fitted and asked, in order: (model, seed, rate, part)."""
    found = []
    evaluate = Recommender.evaluate

    def counted(self, store=None, how=None):
        run = self.run
        found.append((run.name, run.seed, run.settings("retrieve").lr, how.part))
        return evaluate(self, store, how)

    monkeypatch.setattr(comparing.Recommender, "evaluate", counted)
    return found


def test_every_model_has_the_same_trials_and_every_seed_is_tested_once(study, asked, tmp_path):
    said: list[str] = []
    cards = run_study(study, Bench(out=tmp_path, say=said.append))
    assert [(card.model, card.seeds) for card in cards] == [
        (name, (seed,)) for name in ("one", "two", "popularity") for seed in (1, 2)
    ]
    for name in ("one", "two"):
        records = [json.loads(path.read_text()) for path in sorted((tmp_path / "small" / "trials" / name).iterdir())]
        assert [record["number"] for record in records] == [1, 2]
        winner = max(records, key=lambda record: record["value"])
        rate = float(winner["setting"]["stages.retrieve.lr"])
        mine = [(seed, lr, part) for model, seed, lr, part in asked if model == name]
        assert {part for seed, lr, part in mine[:2] if seed == 1} == {"validation"}
        assert mine[2:] == [(1, rate, "test"), (2, rate, "test")]
        for card in cards:
            if card.model == name:
                assert card.config["stages"]["retrieve"]["lr"] == rate
                assert card.monitors["tuning trials"] == 2
                assert card.monitors["tuning sampler"] == "random"
                assert card.monitors["tuning setting"] == f"stages.retrieve.lr={rate}"
                assert card.monitors["tuning NDCG@10 on validation"] == winner["value"]
    assert sum(part == "test" for *_, part in asked) == 6
    assert "tuning trials" not in cards[-1].monitors
    assert said[0] == "2 trials for each tuned model, by random"
    powers = [i for i, line in enumerate(said) if "show true differences from" in line]
    assert [said[i].partition(": NDCG@10: ")[0].partition(", NDCG@10: ")[0] for i in powers] == [
        "small, one: by the two best trials on validation",
        "small, two: by the two best trials on validation",
        "small, by one and two",
    ]
    # Trials tell it before the test part is asked, for as many users as it then has.
    assert powers[0] < said.index("small, one: seed 1")
    users = cards[0].metrics["NDCG@10"].num_users
    assert all(f"NDCG@10: {users} users" in said[i] for i in powers)
    assert f"NDCG@10: {users} users and 2 seeds show" in said[powers[2]]
    assert not any((tmp_path / "small").glob("seed-*/training/*/*"))
    (table,) = standings(found_cards([tmp_path]))
    assert {row.label: (row.seeds, row.trials) for row in table.rows} == {
        "one": ((1, 2), 2),
        "two": ((1, 2), 2),
        "popularity": ((1, 2), 0),
    }


def test_a_broken_off_study_goes_on_and_repeats_nothing(study, asked, tmp_path, monkeypatch):
    whole = run_study(study, Bench(out=tmp_path / "whole"))
    jobs, last = list(asked), len(asked)
    for stop in (2, 5):
        evaluate, left = comparing.Recommender.evaluate, [stop]

        def breaking(self, store=None, how=None, evaluate=evaluate, left=left):
            if not left[0]:
                raise RuntimeError("killed")
            left[0] -= 1
            return evaluate(self, store, how)

        with monkeypatch.context() as patch:
            patch.setattr(comparing.Recommender, "evaluate", breaking)
            with pytest.raises(RuntimeError, match="killed"):
                run_study(study, Bench(out=tmp_path / "broken"))
    cards = run_study(study, Bench(out=tmp_path / "broken"))
    assert asked[last:] == jobs
    assert [card.metrics for card in cards] == [card.metrics for card in whole]
    again = run_study(study, Bench(out=tmp_path / "broken"))
    assert asked[last:] == jobs
    assert [card.created for card in again] == [card.created for card in cards]


def test_more_trials_keep_the_earlier_ones_and_another_space_does_not(study, asked, tmp_path):
    study = replace(study, models={"one": study.models["one"]}, tuning=replace(study.tuning, spaces={"one": RATES}))
    run_study(study, Bench(out=tmp_path))
    first = list(asked)
    more = replace(study, tuning=replace(study.tuning, trials=3))
    cards = run_study(more, Bench(out=tmp_path))
    assert [part for *_, part in asked[len(first) :]].count("validation") == 1
    assert [card.monitors["tuning trials"] for card in cards] == [3, 3]
    count = len(asked)
    other = replace(study, tuning=replace(study.tuning, spaces={"one": {"stages.retrieve.lr": (1e-4, 1e-3)}}))
    run_study(other, Bench(out=tmp_path))
    assert [part for *_, part in asked[count:]] == ["validation", "validation", "test", "test"]


def test_a_limit_is_asked_anew(study, asked, tmp_path):
    study = replace(study, models={"popularity": study.models["popularity"]}, tuning=None, seeds=(1,))
    (whole,) = run_study(study, Bench(out=tmp_path))
    (some,) = run_study(replace(study, data={"small": replace(study.data["small"], limit=5)}), Bench(out=tmp_path))
    assert len(asked) == 2
    assert not whole.comparable(some)


def test_a_trial_that_diverges_is_a_trial_without_a_value(study, tmp_path, monkeypatch):
    fit = Recommender.fit

    def diverging(self, store, *, keep=None):
        if self.run.settings("retrieve").lr > 5e-3:
            raise TrainingDiverged("loss (nan) must be finite")
        return fit(self, store, keep=keep)

    monkeypatch.setattr(comparing.Recommender, "fit", diverging)
    tuning = replace(study.tuning, trials=3, spaces={"one": RATES})
    study = replace(study, models={"one": study.models["one"]}, seeds=(1,), tuning=tuning)
    (card,) = run_study(study, Bench(out=tmp_path))
    assert card.monitors["tuning setting"] == "stages.retrieve.lr=0.001"
    bad = replace(tuning, trials=2, spaces={"one": {"stages.retrieve.lr": (0.01, 0.02)}})
    with pytest.raises(DataError, match=r"trials \(2\) must have one with a value; the first: loss \(nan\)"):
        run_study(replace(study, tuning=bad), Bench(out=tmp_path))


def test_a_metric_is_named_without_the_sampler_of_its_candidates(log, tmp_path):
    def build(path):
        return SequenceStore.build(EventLog.read(log), path, ties="set")

    study = Study(
        data={"small": DataSet(question="rank", build=build)},
        models={"knn": lambda data: run_for("item_knn"), "popularity": lambda data: run_for("popularity")},
        seeds=(1,),
        tuning=Tuning(
            trials=2, spaces={"knn": {"model.rule.num_neighbours": (5, 50)}}, metric="GAUC", sampler="random"
        ),
    )
    said: list[str] = []
    cards = run_study(study, Bench(out=tmp_path, say=said.append))
    trial = json.loads((tmp_path / "small" / "trials" / "knn" / "001.json").read_text())
    assert trial["metric"] == "GAUC[u20]"
    assert cards[0].monitors["tuning GAUC[u20] on validation"] >= trial["value"] > 0
    assert any("knn: by the two best trials on validation, GAUC[u20]: " in line for line in said)
    assert any("small, by knn and popularity: GAUC[u20]: " in line for line in said)
    assert [card.created for card in run_study(study, Bench(out=tmp_path))] == [card.created for card in cards]


def test_only_runs_what_is_named(study, tmp_path):
    study = replace(study, tuning=None, seeds=(3,))
    cards = run_study(study, Bench(out=tmp_path), only=["popularity"])
    assert [(card.model, card.seeds) for card in cards] == [("popularity", (3,))]
    with pytest.raises(UnknownNameError, match="no model or data set of the study is named 'twoo'; did you mean two"):
        run_study(study, Bench(out=tmp_path), only=["twoo"])


def test_changes_are_those_of_every_run_also_in_processes(study, asked, tmp_path):
    study = replace(study, tuning=None, seeds=(3,), changes=("stages.retrieve.lr=0.003",))
    run_study(study, Bench(out=tmp_path), only=["one", "two"])
    assert [rate for *_, rate, part in asked if part == "test"] == [0.003, 0.003]
    file = tmp_path / "mine.py"
    file.write_text(TUNED.replace("tuning=Tuning", "seeds=(3, 4), tuning=None and Tuning"))
    apart = replace(study_of(file), changes=("stages.retrieve.lr=0.003",))
    (card, _) = run_study(apart, Bench(out=tmp_path / "out"), only=["sasrec"], workers=2, file=file)
    assert card.config["stages"]["retrieve"]["lr"] == 0.003
    layers = replace(study, changes=("model.encoder.num_layers=1",))
    (card, _) = run_study(layers, Bench(out=tmp_path / "layers"), only=["one", "two"])
    assert card.config["model"]["encoder"]["num_layers"] == 1
    with pytest.raises(UnknownNameError, match="encoder"):
        run_study(layers, Bench(out=tmp_path / "other"), only=["popularity"])
    with pytest.raises(UnknownNameError, match=r"no option at 'stages\.retrieve\.rate' is named 'rate'"):
        run_study(replace(study, changes=("stages.retrieve.rate=1",)), Bench(out=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def test_wrong_studies_are_refused_before_anything_runs(study, tmp_path):
    def spaces(**changed):
        tuning = replace(study.tuning, spaces=dict(study.tuning.spaces) | changed)
        return replace(study, tuning=tuning)

    cases = [
        (spaces(one={"stages.retrieve.rate": (1, 2)}), "no option at 'stages.retrieve.rate' is named 'rate'"),
        (spaces(one={"stages.retrieve.lr": (1e-3, "fast")}), r"stages.retrieve.lr \(fast\) must be a number"),
        (spaces(one={"stages.retrieve.lr": (1e-3, -1.0)}), r"lr \(-1.0\) must be positive"),
        (spaces(one={"stages.rank.lr": (1e-3, 1e-2)}), "no stage of one is named 'rank'; known: retrieve"),
        (
            spaces(one={"stages.retrieve.lr": (1e-3,)}),
            r"space of one \(1 settings\) must hold at least as many as trials",
        ),
        (spaces(one={}), r"space of one \(none\) must be given: every model that trains has the same trials"),
        (
            replace(study, models=dict(study.models) | {"trees": lambda data: run_for("lightgbm")}),
            r"space of trees \(none\) must be given: every model that trains has the same trials",
        ),
        (replace(study, models=dict(study.models) | {"text": lambda data: "x"}), "must be a function that gives a Run"),
    ]
    for wrong, sentence in cases:
        with pytest.raises((ConfigError, UnknownNameError), match=sentence):
            run_study(wrong, Bench(out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    check(study)
    for options, sentence in (
        ({"seeds": ()}, r"seeds \(none\) must be at least one"),
        ({"seeds": (1, 1)}, r"seeds \(1, 1\) must be different"),
        ({"models": {"small": study.models["one"]}, "tuning": None}, r"names of data and models \(small, small\)"),
        ({"models": {"three": study.models["one"]}}, "no model of the study is named 'one'"),
    ):
        with pytest.raises((ConfigError, UnknownNameError), match=sentence):
            replace(study, **options)
    for options, sentence in (
        ({"trials": 0}, r"trials \(0\) must be at least 1"),
        ({"sampler": "grid"}, r"sampler \(grid\) must be auto, random or tpe"),
        (
            {"spaces": {"one": {"a.b": (1, 1)}}},
            r"choices of a.b of one \(\(1, 1\)\) must be a tuple of different values",
        ),
    ):
        with pytest.raises(ConfigError, match=sentence):
            replace(study.tuning, **options)
    with pytest.raises(ConfigError, match=r"source .* or build must be given, and only one"):
        DataSet(question="rank")


@pytest.mark.slow
def test_processes_try_settings_first_and_then_take_a_seed_each(tmp_path):
    file, said = tmp_path / "mine.py", list[str]()
    file.write_text(TUNED)
    cards = run_study(study_of(file), Bench(out=tmp_path / "out", say=said.append), workers=2, file=file)
    assert [(card.model, card.seeds) for card in cards] == [
        (name, (seed,)) for name in ("sasrec", "popularity") for seed in (1, 2, 3)
    ]
    assert all(card.monitors["tuning trials"] == 2 for card in cards[:3])
    assert len({card.monitors["tuning setting"] for card in cards[:3]}) == 1
    assert len([line for line in said if "2 trials; the best is" in line]) == 1
    assert sorted(path.name for path in (tmp_path / "out" / "small" / "trials" / "sasrec").iterdir()) == [
        "001.json",
        "002.json",
    ]


def test_a_file_has_one_function_that_returns_a_study(tmp_path):
    path = tmp_path / "mine.py"
    good = (
        FILE
        + "def mine() -> Study:\n    return Study(data={'d': DataSet(question='rank', source='s')}, models={'m': run_for})\n"
    )
    path.write_text(good)
    assert list(study_of(path).models) == ["m"]
    for text, sentence in (
        (FILE, r"functions of .*mine.py that return a Study \(none\) must be one: def study\(\) -> Study"),
        (good + "def other() -> Study:\n    return mine()\n", r"return a Study \(mine, other\) must be one"),
        (FILE + "def mine() -> Study:\n    return 3\n", r"mine of .*mine.py \(gave int\) must return a Study"),
        ("def mine(:\n", r"mine.py \(.*\) must be Python that can be imported"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=sentence):
            study_of(path)
    with pytest.raises(ConfigError, match=r"file \(.*none.py\) must be a Python file that is there"):
        study_of(tmp_path / "none.py")


def trial(number, value, metric="NDCG@10", **setting):
    return Trial(number=number, setting=setting, metric=metric, value=value, seconds=1.0, sampler="random", key="k")


def test_random_search_draws_every_setting_once_and_begins_the_same():
    search = Search(space={"a": (1, 2), "b": (0.1, None, True)}, sampler="random", seed=3, name="m")
    tried: list[Trial] = []
    for number in range(6):
        tried.append(trial(number, 0.1, **search.next(tried)))
    assert len({tuple(one.setting.items()) for one in tried}) == 6
    assert {one.setting["b"] for one in tried} == {"0.1", "none", "true"}
    assert search.next(tried[:2]) == tried[2].setting
    assert [replace(search, seed=seed).next([]) for seed in range(9)].count(tried[0].setting) < 9
    with pytest.raises(ConfigError, match=r"space of m \(6 settings\) must hold more than 6"):
        search.next(tried)


def test_the_best_trial_is_the_first_of_the_best_and_losses_are_better_small():
    assert best([trial(1, 0.1), trial(2, 0.3), trial(3, 0.3), trial(4, None)]).number == 2
    assert best([trial(1, 0.4, "log loss"), trial(2, 0.3, "log loss"), trial(3, None, "log loss")]).number == 2


def test_a_named_sampler_is_used_or_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert chosen_sampler("auto") == chosen_sampler("random") == "random"
    with pytest.raises(
        UnsupportedError, match=r"sampler \(tpe\) must have Optuna; install it with: pip install 'hpgr\[tune\]'"
    ):
        chosen_sampler("tpe")


def test_tpe_learns_from_what_was_tried_and_repeats_nothing():
    pytest.importorskip("optuna")
    space = {"a": tuple(range(12)), "b": (0, 1)}
    search = Search(space=space, sampler="tpe", seed=1, name="m")
    tried: list[Trial] = []
    for number in range(20):
        setting = search.next(tried)
        value = None if number == 2 else float(setting["b"] == "1")
        tried.append(trial(number, value, **setting))
    assert search.next(tried) == search.next(tried)
    assert len({tuple(one.setting.items()) for one in tried}) == 20
    good = [one.setting["b"] == "1" for one in tried]
    assert sum(good[10:]) > sum(good[:10])


def test_two_choices_of_one_text_are_refused():
    with pytest.raises(ConfigError, match="must be a tuple of different values"):
        Tuning(trials=1, spaces={"net": {"model.encoder.dropout": (None, "none")}})
