"""Every example runs by itself, as a reader would run it, and shows what it is there to show."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def shown(name: str, folder: Path) -> str:
    """What the example printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return done.stdout


def test_every_example_has_a_test_and_fits_one_screen():
    found = {path.name: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert sorted(found) == ["compare_models.py", "new_model.py", "own_log.py", "study.py"]
    assert max(found.values()) < 40


def test_own_log(tmp_path):
    text = shown("own_log.py", tmp_path)
    assert "note: timestamp read as s (inferred: 2023-11-14 to 2023-11-18)" in text
    assert "not known: ('nobody',)" in text
    rows = re.findall(r"│ ([ab]) +┆ (\w+)-\d .* (\d) +│", text)
    assert [row for row in rows if row[2] == "1"] == [("a", "tea", "1"), ("b", "paper", "1")]
    reasons = re.findall(r"│ (bread|tea|fruit|paper)-\d ┆ (bread-[34]) ", text)
    assert len(reasons) == 6
    assert {event for _, event in reasons} == {"bread-3", "bread-4"}


def test_new_model(tmp_path):
    values = dict(re.findall(r"^(\w+) +NDCG@10 (0\.\d{4})$", shown("new_model.py", tmp_path), re.MULTILINE))
    assert list(values) == ["popularity", "skip_count", "same_session"]
    assert float(values["same_session"]) > 2 * float(values["popularity"])


def test_compare_models(tmp_path):
    text = shown("compare_models.py", tmp_path)
    assert "| skip_count |" in text
    assert "| markov |" in text
    for metric in ("NDCG@10", "HitRate@10"):
        value, low, high = re.search(rf"{metric}: markov minus skip_count (\S+) \[(\S+), (\S+)\], p 0\.", text).groups()
        assert float(low) < float(value) < float(high)
    assert "readable offline" in text


def test_study(tmp_path):
    text = shown("study.py", tmp_path)
    assert "2 trials for each tuned model, by random" in text
    for name in ("one layer", "two layers"):
        assert re.search(rf"{name}: 2 trials; the best is stages\.retrieve\.lr=0\.\d+: NDCG@10 0\.\d{{4}}\n", text)
        assert re.search(rf"\| {name} († )?\| 0\.\d{{4}} ± 0\.\d{{4}} \[", text)
    assert "; 2 seeds; 2 trials a tuned model; certificate `" in text
    assert "| markov | 0." in text
