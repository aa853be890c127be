"""What bad input gets: one sentence, the right exit code, and nothing written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

NOON = 1_700_000_000
GOOD = {
    "user_id": [i % 5 for i in range(50)],
    "item_id": [(i * 7) % 11 for i in range(50)],
    "timestamp": [NOON + i * 120 for i in range(50)],
}


def written(folder: Path, **columns: object) -> Path:
    """A log of five users with some columns replaced; None leaves one out."""
    values = {name: value for name, value in (GOOD | columns).items() if value is not None}
    pl.DataFrame(values).write_parquet(folder / "log.parquet")
    return folder / "log.parquet"


def failed(answer, code: int) -> str:
    """The one sentence of an answer that must have failed."""
    assert answer.code == code, answer
    assert answer.out == ""
    assert answer.err.count("\n") == 1, answer.err
    assert answer.err.startswith("error: ")
    return answer.err.removeprefix("error: ").strip()


LOGS = {
    "missing column": ({"item_id": None}, "a column of {log} (item_id) must be present"),
    "empty": ({name: [] for name in GOOD}, "log {log} (0 rows) must have events"),
    "all-null ids": (
        {"user_id": pl.Series([None] * 50, dtype=pl.Int64)},
        "user_id of {log} (all rows null) must be given for every event; drop or fill those rows",
    ),
    "float ids": ({"user_id": np.arange(50) / 2}, "user_id of {log} (Float64) must be integers or strings"),
    "negative time": (
        {"timestamp": [-5, *GOOD["timestamp"][1:]]},
        "timestamp of {log} (1 of 50 values negative) must not be before 1970; mend or drop those rows",
    ),
    "float time": (
        {"timestamp": [float(t) for t in GOOD["timestamp"]]},
        "timestamp of {log} (Float64) must be a datetime or an integer; floats lose milliseconds: cast it to int64",
    ),
    "mixed units": (
        {"timestamp": [t * (1000 if i % 2 else 1) for i, t in enumerate(GOOD["timestamp"])]},
        "timestamp of {log} (25 values as of s, 25 values as of ms) must be in one unit; convert them",
    ),
    "NaN weight": (
        {"weight": [float("nan")] + [1.0] * 49},
        "weight of {log} (1 of 50 values) must not be NaN or infinite; mend or drop those rows",
    ),
}


@pytest.mark.parametrize("case", LOGS)
def test_a_bad_log_is_refused_by_prepare_and_found_by_doctor(run, tmp_path, case):
    columns, sentence = LOGS[case]
    log = written(tmp_path, **columns)
    wanted = sentence.format(log=log)
    answer = run("prepare", log, "--out", tmp_path / "store")
    assert failed(answer, 1).startswith(wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]
    answer = run("doctor", log, "--json")
    assert answer.code == 1
    assert wanted in " ".join(finding["message"] for finding in json.loads(answer.out)["findings"])


def test_what_the_doctor_alone_calls_an_error(run, tmp_path):
    for columns, code in (({"item_id": [3] * 50}, "one_item"), ({"user_id": list(range(50))}, "single_events")):
        answer = run("doctor", written(tmp_path, **columns), "--json")
        assert answer.code == 1
        levels = {finding["code"]: finding["level"] for finding in json.loads(answer.out)["findings"]}
        assert levels[code] == "error"
    one = run("doctor", written(tmp_path, user_id=[9, *GOOD["user_id"][1:]]), "--json")
    assert one.code == 0
    assert "1 of 6 users have one event" in one.out
    twice = written(tmp_path, user_id=[0] * 50, item_id=[1] * 50, timestamp=[NOON] * 2 + GOOD["timestamp"][2:])
    assert "1 events repeat another's user, item, time and event (kept" in run("doctor", twice, "--json").out


OPTIONS = {
    "gap 0": (["--session-gap", "0"], 1, "session gap (0 s) must be more than 0, else every event is a session"),
    "no gap": (["--session-gap", "soon"], 2, "duration (soon) must be a number with one of the units"),
    "ties": (["--ties", "best"], 2, "ties (best) must be file, set or column:NAME"),
    "tie column": (["--ties", "column:rank"], 1, "a column of {log} (rank) must be present"),
    "unit": (["--time-unit", "h"], 2, "time-unit (h) must be s, ms or us"),
    "history": (["--history", "some"], 2, "history labels (some) must be positive or all"),
    "no events": (["--history-events", "read"], 1, "column event of {log} (absent) must be present to choose"),
    "no sessions": (["--session-gap", "given"], 1, "column session_id of {log} (absent) must be present for given"),
    "items": (["--items", "none.csv"], 1, "log (none.csv) must exist; check the path"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_wrong_option_of_prepare_writes_nothing(run, tmp_path, case):
    words, code, sentence = OPTIONS[case]
    log = written(tmp_path)
    answer = run("prepare", log, "--out", tmp_path / "store", *words)
    assert failed(answer, code).startswith(sentence.format(log=log))
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def test_what_exists_is_not_replaced_unasked(road, run):
    again = f"{road.store} (exists) must be a new path; choose another one, or overwrite it"
    assert failed(run("prepare", road.log, "--out", road.store), 1) == again
    assert failed(run("train", road.store, "--model", "hpgr", "--out", road.bundle), 1) == (
        f"bundle ({road.bundle}) must not exist yet; choose another path or add --overwrite"
    )
    assert failed(run("simulate", "--users", 5, "--out", road.log), 1).startswith(f"{road.log} (exists) must be")
    assert failed(run("demo", "--out", road.log.parent), 1) == (
        f"out ({road.log.parent}) must be new, empty or an earlier demo; choose another folder"
    )


TRAIN = {
    "model": (["--model", "hpgrr"], 2, "no model is named 'hpgrr'; did you mean hpgr?"),
    "option": (
        ["--model", "hpgr", "--set", "stages.rank.epoch=1"],
        2,
        "no option at 'stages.rank.epoch' is named 'epoch'; did you mean epochs?",
    ),
    "value": (["--model", "hpgr", "--set", "stages.rank.epochs=x"], 2, "stages.rank.epochs (x) must be an integer"),
    "rule": (["--model", "hpgr", "--set", "stages.rank.epochs=0"], 2, "epochs (0) must be at least 1"),
    "form": (["--model", "hpgr", "--set", "epochs"], 2, "override (epochs) must be written as path.to.option=value"),
}


@pytest.mark.parametrize("case", TRAIN)
def test_a_wrong_option_of_train_writes_nothing(road, run, tmp_path, case):
    words, code, sentence = TRAIN[case]
    assert failed(run("train", road.store, "--out", tmp_path / "bundle", *words), code).startswith(sentence)
    assert not list(tmp_path.iterdir())


def test_stores_that_nobody_can_learn_from_are_refused_before_training(run, tmp_path):
    for columns, sentence in (
        ({"item_id": [3] * 50}, f"catalogue of {tmp_path / 'store'} (1 item) must hold at least 2"),
        ({"user_id": list(range(50))}, "training part must have a user with 2 events"),
    ):
        assert run("prepare", written(tmp_path, **columns), "--out", tmp_path / "store", "--overwrite").code == 0
        answer = run("train", tmp_path / "store", "--model", "hpgr", "--out", tmp_path / "bundle")
        assert failed(answer, 1).startswith(sentence)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["log.parquet", "store"]


def test_a_damaged_store_or_bundle_is_refused_with_the_remedy(road, run, tmp_path):
    store, bundle = (shutil.copytree(path, tmp_path / path.name) for path in (road.store, road.bundle))
    with open(store / "item_idx.bin", "r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(bytes([first[0] ^ 1]))
    (bundle / "model.safetensors").unlink()
    assert failed(run("evaluate", road.counts, store), 1) == (
        f"item_idx.bin of {store} (damaged) must match its checksum; rebuild it with: hpgr prepare LOG --out {store}"
    )
    assert failed(run("recommend", bundle, "--items", ""), 1) == (
        f"bundle ({bundle}) lacks model.safetensors; train it again with: hpgr train STORE --model NAME --out BUNDLE"
    )


def test_a_bundle_of_another_log_is_refused(road, run, tmp_path):
    other = tmp_path / "store"
    assert run("prepare", written(tmp_path), "--out", other).code == 0
    sentence = failed(run("evaluate", road.counts, other), 1)
    assert sentence.startswith(f"certificate of {other} (")
    assert sentence.endswith("evaluate on the store it was trained on")
    sentence = failed(run("recommend", road.counts, "--user", 3, "--store", other), 1)
    assert sentence == f"store ({other}) must hold the items of the bundle's log; use the store it was trained on"


RECOMMEND = {
    "nobody": ([], 2, "user, history and batch (several or none given) must be one of the three"),
    "both": (
        ["--user", "u", "--items", "i"],
        2,
        "user, history and batch (several or none given) must be one of the three",
    ),
    "by": (["--items", "", "--by", "luck"], 2, "by (luck) must be auto, retrieve or rank"),
    "no ranker": (["--items", "", "--by", "rank"], 1, "by (rank) must be retrieve for this model"),
    "at": (["--items", "", "--at", "noon"], 2, "at (noon) must be an ISO date-time such as"),
    "out": (["--items", "", "--out", "a.xlsx"], 2, "out (a.xlsx) must end in .parquet or .csv"),
    "no file": (["--history", "none.csv"], 1, "log (none.csv) must exist; check the path"),
    "candidates": (["--items", "", "--candidates", "x,y"], 1, "candidates (x, y) must hold an item"),
}


@pytest.mark.parametrize("case", RECOMMEND)
def test_a_wrong_option_of_recommend_is_answered_in_a_sentence(road, run, case):
    words, code, sentence = RECOMMEND[case]
    assert failed(run("recommend", road.counts, *words), code).startswith(sentence)


def test_evaluate_refuses_what_there_is_not(road, run):
    assert failed(run("evaluate", road.counts, "--part", "all"), 2) == "part (all) must be test or validation"
    assert failed(run("evaluate", road.counts, "--question", "why"), 2) == "question (why) must be retrieve or rank"
    assert failed(run("report", road.store, "--out", road.store / "page.html"), 1) == (
        f"{road.store / 'card.json'} (no such file or directory) must be usable; check the path"
    )


def test_a_full_disk_and_a_forbidden_path_leave_nothing(run, tmp_path, monkeypatch):
    log, real = written(tmp_path), os.fsync

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    sentence = failed(run("prepare", log, "--out", tmp_path / "store"), 1)
    assert sentence == f"disk of {tmp_path} (full) must have room for store; free some space"
    monkeypatch.setattr(os, "fsync", real)
    sentence = failed(run("prepare", log, "--out", "/proc/store"), 1)
    assert sentence.startswith("/proc/")
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def test_debug_shows_the_traceback_before_the_sentence(run, tmp_path):
    answer = run("prepare", tmp_path / "none.csv", "--out", tmp_path / "store", "--debug")
    assert answer.code == 1
    assert answer.err.startswith("Traceback (most recent call last)")
    assert answer.err.splitlines()[-1] == f"error: log ({tmp_path / 'none.csv'}) must exist; check the path"


def test_an_interrupt_is_a_sentence(run, monkeypatch, tmp_path):
    def interrupted(*words: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hpgr.data.log.EventLog.read", interrupted)
    answer = run("prepare", written(tmp_path), "--out", tmp_path / "store")
    assert failed(answer, 1) == "interrupted; nothing unfinished was kept"
