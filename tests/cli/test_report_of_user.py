"""``hpgr report BUNDLE --user ID --html PATH``, and what it refuses."""

from __future__ import annotations

import json
import re


def test_one_file_tells_all_of_one_user(run, road, tmp_path):
    page = tmp_path / "deep" / "why.html"
    answer = run("report", road.bundle, "--user", "u000003", "--html", page, "-k", 4, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == {"page": str(page), "user": "u000003", "items": 4}
    text = page.read_text()
    assert text.count("<script>") == 1
    assert not re.findall(r'(?:src|href)="(?!data:|#)', text)
    (inside,) = re.findall(r'<script type="application/json" id="embedded">(.*?)</script>', text)
    data = json.loads(inside)
    recommended = json.loads(run("recommend", road.bundle, "--user", "u000003", "-k", 4, "--json").out)
    assert [one["item_id"] for one in data["look"]["items"]] == [r["item_id"] for r in recommended["recommendations"]]
    assert set(data["explained"]) == {one["item_id"] for one in data["look"]["items"]}


def test_a_moment_of_the_past_knows_only_what_was_before(run, road, tmp_path):
    seen = []
    for words in ([], ["--at", "2024-01-08"]):
        page = tmp_path / f"{len(seen)}.html"
        assert run("report", road.bundle, "--user", "u000003", "--html", page, *words).code == 0
        inside = re.findall(r'id="embedded">(.*?)</script>', page.read_text())[0]
        seen.append(json.loads(inside)["look"])
    assert all(event["time_ms"] < seen[1]["at_ms"] for event in seen[1]["events"])
    assert seen[1]["num_events"] < seen[0]["num_events"]


def test_what_does_not_go_together_is_told(run, road, tmp_path):
    page = tmp_path / "x.html"
    for words, code, sentence in (
        ([road.bundle, "--user", "u000003"], 2, "user and html (one of them given) must be given together"),
        ([road.bundle], 2, "out and html (both or none given) must be one of the two"),
        ([road.bundle, road.counts, "--user", "u000003", "--html", page], 2, "bundle (2 paths) must be one path"),
        ([road.bundle, "--user", "nobody", "--html", page], 1, "user (nobody) must be one that"),
        ([tmp_path, "--user", "u000003", "--html", page], 1, "must be a folder that holds facts.json"),
        ([road.bundle, "--user", "u000003", "--html", page, "--store", tmp_path], 1, str(tmp_path)),
        ([road.bundle, "--user", "u000003", "--html", page, "--cards", tmp_path / "none"], 1, "result cards"),
    ):
        answer = run("report", *words)
        assert (answer.code, answer.out) == (code, ""), answer.err
        assert sentence in answer.err
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
    assert not page.exists()
