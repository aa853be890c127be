"""The demo, small: everything is left behind, and a second one replaces it."""

from __future__ import annotations

import json

from hpgr.evaluation.card import ResultCard

MODELS = ["hpgr", "sasrec", "popularity", "popularity-recent", "markov", "skip_count", "item_knn", "ease"]
LEFT = ["bundle", "cards", "demo.json", "items.parquet", "log.parquet", "report.html", "store"]


def test_the_demo_leaves_everything_and_can_be_repeated(run, tmp_path):
    out = tmp_path / "demo"
    words = ("demo", "--out", out, "--users", 60, "--epochs", 1)
    found = run(*words)
    assert found.code == 0, found.err
    assert sorted(path.name for path in out.iterdir()) == LEFT
    for sentence in ("Which item of all is viewed next?", "Which of the items shown is clicked?", "nobody can beat it"):
        assert sentence in found.out
    for text in ("hpgr doctor", "hpgr recommend --explain", "because of", str(out / "report.html")):
        assert text in found.out
    cards = {name: ResultCard.load(out / "cards" / f"{name}-{q}") for name in MODELS for q in ("retrieve", "rank")}
    assert {card.certificate.hash for card in cards.values()} == {cards["hpgr"].certificate.hash}
    kept = out / "notes.txt"
    kept.write_text("mine")
    again = run(*words, "--json")
    assert again.code == 0, again.err
    tree = json.loads(again.out)
    assert tree["scores"] == json.loads((out / "demo.json").read_text())["scores"]
    for question, metric in (("retrieve", "NDCG@10"), ("rank", "AUC")):
        scores = tree["scores"][question]
        assert list(scores) == [*MODELS, "oracle"]
        assert scores["oracle"][metric] > max(scores[name][metric] for name in MODELS)
    assert kept.read_text() == "mine"
    assert len(tree["answer"]["recommendations"]) == 3
