"""``hpgr study`` and ``hpgr leaderboard``: from a file to tables, and what wrong input is answered with."""

from __future__ import annotations

import json

import pytest

STUDY = """
from hpgr import EventLog, SequenceStore
from hpgr.api.runs import run_for
from hpgr.api.study import DataSet, Study

def simulated(path):
    return SequenceStore.build(EventLog.read({log!r}), path)

def mine() -> Study:
    models = {{name: lambda data, name=name: run_for(name) for name in ("markov", "popularity")}}
    factors = {{"Order & time": ("popularity", "markov")}}
    data = {{"views": DataSet({data})}}
    return Study(data=data, models=models, seeds=(1, 2), summary="Two that count", factors=factors)
"""


@pytest.fixture
def file(road, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(STUDY.format(log=str(road.log), data="question='retrieve', build=simulated, limit=50"))
    return path


def failed(answer, code):
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.count("\n") == 1, answer.err
    return answer.err.removeprefix("error: ").strip()


def test_a_study_leaves_cards_tables_and_a_page_and_a_leaderboard_takes_them(run, file, tmp_path):
    out = tmp_path / "study"
    answer = run("study", file, "--out", out)
    assert answer.code == 0, answer.err
    assert "views, markov: seed 2" in answer.err
    assert "views, by markov and popularity: NDCG@10: " in answer.err
    assert "Cards, tables.md, index.html and leaderboard.json stand in" in answer.out
    assert "<h1>Two that count</h1>" in (out / "index.html").read_text()
    assert "| popularity | " in (out / "tables.md").read_text()
    assert "Plots, one a factor, stand in" in answer.out
    assert "<text" in (out / "factors" / "order-time.svg").read_text()
    assert "markov minus popularity: NDCG@10 " in " ".join(answer.out.split())
    assert "| Order &amp; time | markov | popularity | 2, 2 | NDCG@10 | " in (out / "differences.md").read_text()

    (told,) = json.loads(run("study", file, "--out", out, "--json").out)["differences"]
    assert (told["factor"], told["variant"], told["base"]) == ("Order & time", "markov", "popularity")
    assert told["NDCG@10"]["low"] <= told["NDCG@10"]["value"] <= told["NDCG@10"]["high"]
    assert 0 < told["NDCG@10"]["p_value"] <= told["NDCG@10"]["p_holm"] <= 1
    assert told["NDCG@10"]["detectable"] > 0

    page = tmp_path / "page.md"
    page.write_text("# Mine\n<!-- tables -->\n<!-- end of tables -->\n")
    words = ("--out", tmp_path / "board", "--markdown", page, "--cards", tmp_path / "compact", "--title", "All")
    answer = run("leaderboard", out, *words, "--json")
    assert answer.code == 0, answer.err
    (table,) = json.loads(answer.out)["tables"]
    assert table["name"] == "views"
    assert {row["model"]: row["seeds"] for row in table["rows"]} == {"markov": [1, 2], "popularity": [1, 2]}
    assert "<h1>All</h1>" in (tmp_path / "board" / "index.html").read_text()
    assert page.read_text().startswith("# Mine\n<!-- tables -->\n\n### views\n")
    names = sorted(path.name for path in (tmp_path / "compact" / "views").iterdir())
    assert names == ["markov-seed-1.json", "markov-seed-2.json", "popularity-seed-1.json", "popularity-seed-2.json"]
    answer = run("leaderboard", tmp_path / "compact")
    assert answer.code == 0, answer.err
    assert "views" in answer.out
    assert "markov" in answer.out


@pytest.mark.slow
def test_a_study_in_processes_gives_the_same_cards(run, file, tmp_path):
    values = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        answer = run("study", file, "--out", out, "--only", "markov", "--workers", workers, "--json")
        assert answer.code == 0, answer.err
        assert json.loads(answer.out)["tables"] == [{"name": "views", "models": ["markov"]}]
        assert "views, markov: seed 2" in answer.err
        (table,) = json.loads((out / "leaderboard.json").read_text())["tables"]
        values.append(table["rows"][0]["metrics"])
        assert table["rows"][0]["seeds"] == [1, 2]
    assert values[0] == values[1]


def test_bad_input_is_answered_in_a_sentence(run, road, file, tmp_path, monkeypatch):
    monkeypatch.delenv("HPGR_DATA", raising=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert failed(run("leaderboard", empty), 1).startswith(f"cards in {empty} (0) must be at least 1; give folders of")
    assert failed(run("leaderboard", tmp_path / "no"), 1).startswith(f"{tmp_path / 'no'} (no such file or directory)")
    assert failed(run("leaderboard", road.bundle / "config.json"), 1).startswith("schema of ")
    assert failed(run("study", tmp_path / "no.py"), 2).endswith("must be a Python file that is there")
    assert failed(run("study", file, "--only", "marko"), 2).endswith("is named 'marko'; did you mean markov?")
    file.write_text("x = 1\n")
    assert failed(run("study", file), 2).startswith(f"functions of {file} that return a Study (none) must be one")
    file.write_text(STUDY.format(log="", data="question='rank', source='thirty_music', folder='x'"))
    sentence = failed(run("study", file, "--out", tmp_path / "out", "--only", "markov"), 2)
    assert sentence == "data (not given) must be the folder of the data sets; give --data or set HPGR_DATA"


def test_an_unknown_option_of_a_space_is_answered_with_the_nearest(run, file, tmp_path):
    space = "tuning=Tuning(trials=1, spaces={'markov': {'windows.max_lenn': (5, 9)}}), summary"
    file.write_text(file.read_text().replace("summary", space).replace("DataSet, Study\n", "DataSet, Study, Tuning\n"))
    sentence = failed(run("study", file, "--out", tmp_path / "out"), 2)
    assert sentence == "no option at 'windows.max_lenn' is named 'max_lenn'; did you mean max_len?"
    assert not (tmp_path / "out").exists()
