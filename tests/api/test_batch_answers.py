"""Answers to a file of users are those of single calls; a run that was broken off goes on, and only with its own question."""

from __future__ import annotations

import polars as pl
import pytest

from hpgr.answering.answerer import Wanted
from hpgr.api.batch_answers import answer_batch
from hpgr.api.recommender import Recommender
from hpgr.core.errors import ConfigError, DataError
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
    (out / ".part-000002.parquet.unfinished").write_bytes(b"PAR1")
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
    for wanted, at in ((Wanted(k=6, exclude_seen=True), None), (WANTED, "2030-01-01")):
        with pytest.raises(DataError, match="holds the answers to another question"):
            made.recommend_batch(users, tmp_path / "out", wanted=wanted, at=at)
    assert made.recommend_batch(users, tmp_path / "out", wanted=WANTED).resumed == 1


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
