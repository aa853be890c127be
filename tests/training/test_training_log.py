from __future__ import annotations

import json
import os

import pytest
from lightning.pytorch.loggers import CSVLogger

from hpgr.core.errors import DataError
from hpgr.training.jsonl import TrainingLog
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_has_a_line_for_each_interval_and_epoch(toy, toy_batches, tmp_path):
    net, stage = toy()
    result = fit_stage(
        stage,
        toy_batches(5),
        settings=StageSettings(epochs=2, lr=0.01),
        seed=1,
        validate=net.accuracy,
        keep=Housekeeping(folder=tmp_path, log_every_steps=2),
    )
    lines = lines_of(tmp_path / "train.jsonl")
    assert [(line["at"], line["epoch"], line["step"]) for line in lines] == [
        ("step", 1, 2),
        ("step", 1, 4),
        ("epoch", 1, 5),
        ("step", 2, 6),
        ("step", 2, 8),
        ("step", 2, 10),
        ("epoch", 2, 10),
    ]
    assert list(lines[0]) == [
        "at",
        "stage",
        "epoch",
        "step",
        "loss",
        "noise",
        "lr",
        "tokens_per_s",
        "wait_share",
        "seconds",
    ]
    assert list(lines[2]) == [*lines[0], "valid.accuracy"]
    assert all(line["stage"] == "retrieve" and line["lr"] == 0.01 and line["tokens_per_s"] > 0 for line in lines)
    assert [{"at": "epoch", "stage": "retrieve"} | line for line in result.curve] == [lines[2], lines[6]]
    # Steps 1 to 4 are two intervals; the epoch's mean counts step 5 as well.
    assert lines[2]["loss"] != pytest.approx((lines[0]["loss"] + lines[1]["loss"]) / 2)


def test_an_epochs_mean_is_the_mean_of_its_steps(toy, toy_batches, tmp_path):
    _, stage = toy()
    keep = Housekeeping(folder=tmp_path, log_every_steps=1)
    fit_stage(stage, toy_batches(4), settings=StageSettings(epochs=1), seed=1, keep=keep)
    *steps, epoch = lines_of(tmp_path / "train.jsonl")
    assert len(steps) == 4
    assert epoch["loss"] == pytest.approx(sum(line["loss"] for line in steps) / 4, rel=1e-6)


def test_rewind_drops_later_lines_of_the_stage_and_a_torn_one(tmp_path):
    path = tmp_path / "train.jsonl"
    log = TrainingLog(path)
    log.rewind("rank", 0)
    for stage, step in (("retrieve", 9), ("rank", 2), ("rank", 4), ("rank", 6)):
        log.write({"stage": stage, "step": step})
    path.write_text(path.read_text() + '{"stage": "rank", "st')
    log.rewind("rank", 4)
    assert [(line["stage"], line["step"]) for line in lines_of(path)] == [("retrieve", 9), ("rank", 2), ("rank", 4)]


def test_what_json_lacks_is_null(tmp_path):
    log = TrainingLog(tmp_path / "train.jsonl")
    log.write({"stage": "rank", "step": 1, "loss": float("nan"), "gain": float("inf")})
    assert lines_of(tmp_path / "train.jsonl") == [{"stage": "rank", "step": 1, "loss": None, "gain": None}]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "train.jsonl").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"training log \(.*train.jsonl\) must be writable; No space left on device"):
        TrainingLog(tmp_path / "train.jsonl").write({"stage": "rank", "step": 1})


def test_lightning_loggers_get_every_epoch_under_the_stages_name(toy, toy_batches, tmp_path):
    _, stage = toy()
    logger = CSVLogger(save_dir=str(tmp_path), name="csv", version=0)
    keep = Housekeeping(loggers=(logger,))
    fit_stage(stage, toy_batches(3), settings=StageSettings(epochs=2), seed=1, keep=keep)
    header, *rows = (tmp_path / "csv" / "version_0" / "metrics.csv").read_text().splitlines()
    columns = header.split(",")
    assert {"retrieve/loss", "retrieve/noise", "retrieve/lr"} <= set(columns)
    assert [row.split(",")[columns.index("step")] for row in rows] == ["3", "6"]
