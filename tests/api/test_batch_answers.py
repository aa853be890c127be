"""Answers to a file of users are those of single calls; a run that was broken off goes on, and only with its own question."""

from __future__ import annotations

from dataclasses import fields, replace

import polars as pl
import pytest

from hpgr.answering.answerer import Wanted
from hpgr.api.batch_answers import answer_batch
from hpgr.api.recommender import Recommender
from hpgr.core.errors import ConfigError, DataError, UnsupportedError
from hpgr.data.log import EventLog
from hpgr.data.simulator import Simulator
from hpgr.data.store import SequenceStore

WANTED = Wanted(k=5, exclude_seen=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    simulator = Simulator(Simulator.Config(num_users=60, num_items=80, num_categories=6, days=20, seed=3))
    folder = tmp_path_factory.mktemp("batch")
    log = EventLog.read(pl.concat(list(simulator.frames())))
    store = SequenceStore.build(log, folder / "store", items=simulator.items(), ties="set")
    return Recommender("sasrec", changes=["windows.max_len=12", "stages.retrieve.epochs=1"]).fit(store)


@pytest.fixture
def users(made, tmp_path):
    ids = made.store().users.ids
    file = tmp_path / "users.parquet"
    strange = pl.Series([ids.dtype.to_python()(10**9)], dtype=ids.dtype)
    pl.DataFrame({"user_id": pl.concat([ids[:31].reverse(), strange])}).write_parquet(file)
    return file


def single(made, users):
    ids = pl.read_parquet(users)["user_id"].to_list()
    return pl.concat([made.recommend([user], wanted=WANTED).table for user in ids[:-1]])


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_they_are_those_of_single_calls(made, users, tmp_path, name):
    said = []
    found = made.recommend_batch(
        users, tmp_path / name, wanted=WANTED, at_once=7, progress=lambda *done: said.append(done)
    )
    assert (found.users, found.unknown_users, found.rows, found.resumed) == (32, 1, 155, 0)
    assert said == [(7, 32), (14, 32), (21, 32), (28, 32), (32, 32)]
    files = tmp_path / name if name == "out.parquet" else tmp_path / name / "part-*.parquet"
    got, want = pl.read_parquet(files), single(made, users)
    assert got.drop("score").equals(want.drop("score"))
    assert (got["score"] - want["score"]).abs().max() < 1e-5
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"users.parquet", name}


def test_a_broken_run_goes_on_where_it_was(made, users, tmp_path):
    out, seen = tmp_path / "out", []

    class Killed(BaseException):
        pass

    def ask(ids):
        seen.append(ids)
        if len(seen) == 3:
            raise Killed
        found = made.recommend(ids, wanted=WANTED)
        return found.table, len(found.unknown_users)

    with pytest.raises(Killed):
        answer_batch(users, out, ask, {"k": 5}, at_once=7)
    assert sorted(path.name for path in out.iterdir()) == [
        "part-000000.parquet",
        "part-000001.parquet",
        "question.json",
    ]
    # What a kill in the middle of writing leaves is no part.
    (out / ".part-000002.parquet.99.part").write_bytes(b"PAR1")
    found = answer_batch(users, out, ask, {"k": 5}, at_once=7)
    assert found.resumed == 2
    assert [len(ids) for ids in seen] == [7, 7, 7, 7, 7, 4]
    assert pl.read_parquet(out / "part-*.parquet").drop("score").equals(single(made, users).drop("score"))
    assert len(list(out.iterdir())) == 6
    assert answer_batch(users, out, ask, {"k": 5}, at_once=7).resumed == 5
    with pytest.raises(DataError, match="holds the answers to another question"):
        answer_batch(users, out, ask, {"k": 6}, at_once=7)
    pl.DataFrame({"user_id": pl.read_parquet(users)["user_id"].reverse()}).write_parquet(users)
    with pytest.raises(DataError, match="holds the answers to another question"):
        answer_batch(users, out, ask, {"k": 5}, at_once=7)


def test_what_is_asked_is_part_of_the_question(made, users, tmp_path):
    made.recommend_batch(users, tmp_path / "out", wanted=WANTED)
    others = {"k": 6, "exclude_seen": False, "candidates": ["x"], "by": "retrieve", "pool": 100, "variety": 1.0}
    assert {one.name for one in fields(Wanted)} == {*others, "index"}
    asked = [(replace(WANTED, **{name: value}), None) for name, value in others.items()]
    asked += [(replace(WANTED, index=made.index("exact")), None), (WANTED, "2030-01-01")]
    for wanted, at in asked:
        with pytest.raises(DataError, match="holds the answers to another question"):
            made.recommend_batch(users, tmp_path / "out", wanted=wanted, at=at)
    assert made.recommend_batch(users, tmp_path / "out", wanted=WANTED).resumed == 1


def test_a_question_that_cannot_be_answered_claims_nothing(made, users, tmp_path):
    with pytest.raises(UnsupportedError):
        made.recommend_batch(users, tmp_path / "out", wanted=replace(WANTED, by="rank"))
    assert made.recommend_batch(users, tmp_path / "out", wanted=WANTED).resumed == 0
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".question.json.99.part").write_text("{")
    assert made.recommend_batch(users, tmp_path / "killed", wanted=WANTED).rows == 155


def test_a_kill_after_all_was_joined_is_tidied_up(made, users, tmp_path, monkeypatch):
    with monkeypatch.context() as kept:
        kept.setattr("hpgr.api.batch_answers._remove", lambda folder, parts: None)
        made.recommend_batch(users, tmp_path / "out.parquet", wanted=WANTED)
    assert (tmp_path / "out.parquet.parts").exists()
    assert made.recommend_batch(users, tmp_path / "out.parquet", wanted=WANTED).rows == 155
    assert {path.name for path in tmp_path.iterdir()} == {"users.parquet", "out.parquet"}


def test_a_file_that_came_between_is_not_taken_for_the_answer(made, users, tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    with monkeypatch.context() as kept:
        kept.setattr("hpgr.api.batch_answers._remove", lambda folder, parts: None)
        made.recommend_batch(users, out, wanted=WANTED)
    pl.DataFrame({"x": [1]}).write_parquet(out)
    with pytest.raises(
        DataError, match=r"out \(.*out.parquet, exists\) must be a new file, and is not of the parts in"
    ):
        made.recommend_batch(users, out, wanted=WANTED)
    assert pl.read_parquet(out)["x"].to_list() == [1]
    out.write_text("no table")
    with pytest.raises(DataError, match=r"out.parquet, damaged\) must be as it was written"):
        made.recommend_batch(users, out, wanted=WANTED)
    assert out.read_text() == "no table"
    assert (tmp_path / "out.parquet.parts" / "part-000000.parquet").exists()


def test_hidden_files_of_others_stay(made, users, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".env").write_text("x")
    with pytest.raises(DataError, match=r"out \(.*, exists\) must be new, or hold the parts of the same question"):
        made.recommend_batch(users, tmp_path / "out", wanted=WANTED)
    assert (tmp_path / "out" / ".env").read_text() == "x"


def test_nobody_known_leaves_nothing(made, tmp_path):
    file = tmp_path / "strange.parquet"
    ids = made.store().users.ids
    pl.DataFrame({"user_id": pl.Series([ids.dtype.to_python()(10**9)], dtype=ids.dtype)}).write_parquet(file)
    with pytest.raises(
        DataError, match=r"recommendations \(0 for 1 users of .*\) must be at least one; check that user_id"
    ):
        made.recommend_batch(file, tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["strange.parquet"]


def test_a_damaged_part_is_named(made, users, tmp_path):
    made.recommend_batch(users, tmp_path / "out", wanted=WANTED)
    (tmp_path / "out" / "part-000000.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match=r"part \(.*part-000000.parquet, damaged\) must be as it was written"):
        made.recommend_batch(users, tmp_path / "out", wanted=WANTED)


@pytest.mark.parametrize("ids", [[[1], [2]], [1, None], [1.5, 2.0]])
def test_ids_are_whole_numbers_or_texts(made, tmp_path, ids):
    pl.DataFrame({"user_id": ids}).write_parquet(tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=r"^user_id of batch \(.*\) must be whole numbers or texts without nulls$"):
        made.recommend_batch(tmp_path / "odd.parquet", tmp_path / "out")


def test_wrong_files_get_one_sentence(made, users, tmp_path):
    with pytest.raises(DataError, match=r"batch \(.*none.parquet\) must exist"):
        made.recommend_batch(tmp_path / "none.parquet", tmp_path / "out")
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(DataError, match="must be a Parquet file of user ids"):
        made.recommend_batch(tmp_path / "bad.parquet", tmp_path / "out")
    pl.DataFrame({"a": [1], "b": [2]}).write_parquet(tmp_path / "two.parquet")
    with pytest.raises(DataError, match="must have a column user_id and a row or more; it has a, b, 1 rows"):
        made.recommend_batch(tmp_path / "two.parquet", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"at_once \(0\) must be at least 1"):
        made.recommend_batch(users, tmp_path / "out", at_once=0)
    with pytest.raises(DataError, match=r"out \(.*exists\) must be new"):
        made.recommend_batch(users, tmp_path)
