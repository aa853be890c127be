"""What the benchmarks share: ratios of runs in turn, files that can be compared, and what counts as moved."""

from __future__ import annotations

import json
import subprocess
from importlib import import_module

import pytest
import torch

measured, compare = import_module("measured"), import_module("compare")


def ratio_of(median: float) -> dict[str, float]:
    return {"median": median, "least": median * 0.95, "most": median * 1.05}


def test_a_ratio_is_of_runs_that_stood_side_by_side():
    assert measured.ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == measured.Ratio(2.0, 1.0, 3.0)
    assert str(measured.Ratio(2.0, 1.0, 3.0)) == "2.00 (1.00–3.00)"
    assert measured.spread([3.0, 1.0, 2.0], 1) == "2.0 (1.0–3.0)"


def test_jobs_run_in_turn_and_the_warm_round_does_not_count():
    order: list[str] = []
    jobs = {"ours": lambda: order.append("ours"), "theirs": lambda: order.append("theirs")}
    seconds = measured.in_turn(jobs, 2)
    assert order == ["ours", "theirs"] * 3
    assert [len(found) for found in seconds.values()] == [2, 2]


def test_no_speed_of_a_wrong_answer():
    measured.must_agree("scores", torch.ones(3), torch.ones(3))
    with pytest.raises(SystemExit, match=r"scores \(off by 1\) must be what the reference gives; no speed is printed"):
        measured.must_agree("scores", torch.ones(3), torch.zeros(3))
    with pytest.raises(SystemExit, match="must be what the reference gives"):
        measured.must_agree("scores", torch.ones(3), torch.ones(4))


def test_a_page_is_kept_with_a_twin_that_can_be_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    page = measured.keep(
        "speed", ["# Speed"], {"a step": measured.Ratio(2.0, 1.9, 2.1)}, command="python x.py", settings={"runs": 3}
    )
    text = page.read_text()
    assert text.startswith("# Speed\n")
    assert "`python x.py`, commit" in text
    assert '"runs": 3' in text
    (found,) = compare.present(tmp_path).values()
    assert found["ratios"] == {"a step": {"median": 2.0, "least": 1.9, "most": 2.1}}


def test_only_the_newest_month_of_each_hardware_is_compared():
    names = ["a_x86-2cores_202610.json", "a_x86-2cores_202611.json", "a_h100_202609.json", "a_x86-2cores_202611.md"]
    assert compare.newest(names) == {"a_x86-2cores": "a_x86-2cores_202611.json", "a_h100": "a_h100_202609.json"}


def test_what_moved_is_told_and_what_got_worse_counted():
    before = {"a": {"ratios": {"slower": ratio_of(4.0), "level": ratio_of(2.0), "gone": ratio_of(1.0)}}}
    after = {"a": {"ratios": {"slower": ratio_of(2.0), "level": ratio_of(2.1), "new": ratio_of(1.0)}}}
    told, worse = compare.lines(before, after, 0.15)
    assert told == [
        "a: slower: worse: 4.00 -> 2.00",
        "a: gone: not measured any more",
        "a: new: measured for the first time",
        "1 the same, 1 worse",
    ]
    assert worse == 1
    told, worse = compare.lines(after, before, 0.15)
    assert (told[0], worse) == ("a: slower: better: 2.00 -> 4.00", 0)


def test_stored_results_are_read_from_a_commit(tmp_path):
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)

    def git(*words: str) -> None:
        named = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *named, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (folder / "a_x86_202611.json").write_text(json.dumps({"ratios": {"step": ratio_of(3.0)}}))
    git("add", ".")
    git("commit", "-m", "results")
    (folder / "a_x86_202611.json").write_text(json.dumps({"ratios": {"step": ratio_of(1.0)}}))
    told, worse = compare.lines(compare.stored("HEAD", folder), compare.present(folder), 0.15)
    assert told[0] == "a_x86: step: worse: 3.00 -> 1.00"
    assert worse == 1
