from __future__ import annotations

import dataclasses
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from hpgr.core.errors import ConfigError, DataError
from hpgr.training.interrupts import TrainingInterrupted
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

SETTINGS = StageSettings(epochs=4, lr=0.02, warmup_steps=3, schedule="cosine", patience=2)


def interrupting(stage, at_call: int, number: signal.Signals = signal.SIGINT):
    """The stage, with a signal during one of its steps."""
    calls = []

    def loss(history, generator):
        calls.append(1)
        if len(calls) == at_call:
            signal.raise_signal(number)
        return stage.loss(history, generator)

    return dataclasses.replace(stage, loss=loss)


def unbroken(toy, toy_batches):
    net, stage = toy()
    return net, fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, validate=net.accuracy)


def assert_same_weights(net, other) -> None:
    for name, weight in other.state_dict().items():
        assert torch.equal(net.state_dict()[name], weight), name


def timeless(curve):
    return [{k: v for k, v in line.items() if k not in ("seconds", "tokens_per_s", "wait_share")} for line in curve]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
@pytest.mark.parametrize("at_call", [1, 9, 12, 24], ids=["first step", "mid epoch", "end of epoch", "last step"])
def test_an_interrupted_stage_continues_to_the_same_weights(toy, toy_batches, tmp_path, at_call, number):
    whole, expected = unbroken(toy, toy_batches)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    net, stage = toy()
    with pytest.raises(TrainingInterrupted) as caught:
        fit_stage(
            interrupting(stage, at_call, number),
            toy_batches(6),
            settings=SETTINGS,
            seed=5,
            validate=net.accuracy,
            keep=Housekeeping(folder=tmp_path),
        )
    assert str(caught.value) == (
        f"training of stage 'retrieve' was interrupted at step {at_call}; "
        f"its checkpoint is in {tmp_path / 'retrieve'}: run the same command with --resume to go on"
    )
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    net, stage = toy()
    result = fit_stage(
        stage,
        toy_batches(6),
        settings=SETTINGS,
        seed=5,
        validate=net.accuracy,
        keep=Housekeeping(folder=tmp_path, resume=True),
    )
    assert_same_weights(net, whole)
    assert (result.best_epoch, result.best_value, result.steps) == (
        expected.best_epoch,
        expected.best_value,
        expected.steps,
    )
    assert timeless(result.curve) == timeless(expected.curve)


SCRIPT = """
import importlib.util, sys, time
from pathlib import Path
import torch
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage
torch.set_num_threads(int(sys.argv[3]))
spec = importlib.util.spec_from_file_location("toy", sys.argv[1])
toy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy)
net = toy.ToyNet()
def loss(history, generator):
    time.sleep(0.02)
    return net.loss(history, generator)
stage = toy.TrainableStage(name="retrieve", module=net, loss=loss, batches="history")
settings = StageSettings(epochs=4, lr=0.02, warmup_steps=3, schedule="cosine", patience=2)
keep = Housekeeping(folder=Path(sys.argv[2]), checkpoint_every_steps=4, log_every_steps=2)
fit_stage(stage, toy.ToyBatches(300), settings=settings, seed=5, validate=net.accuracy, keep=keep)
"""


def test_a_killed_process_is_continued_to_the_same_weights(toy, toy_batches, tmp_path):
    whole, stage = toy()
    fit_stage(stage, toy_batches(300), settings=SETTINGS, seed=5, validate=whole.accuracy)

    toys = str(Path(__file__).with_name("conftest.py"))
    # The order of sums, and so the last bit, depends on the number of threads.
    child = subprocess.Popen([sys.executable, "-c", SCRIPT, toys, str(tmp_path), str(torch.get_num_threads())])
    checkpoint = tmp_path / "retrieve" / "last.pt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    kept = torch.load(checkpoint, weights_only=True)["position"]
    assert kept["epoch"] == 0
    assert 4 <= kept["step_in_epoch"] < 300

    net, stage = toy()
    fit_stage(
        stage,
        toy_batches(300),
        settings=SETTINGS,
        seed=5,
        validate=net.accuracy,
        keep=Housekeeping(folder=tmp_path, resume=True, log_every_steps=2),
    )
    assert_same_weights(net, whole)
    steps = [json.loads(x)["step"] for x in (tmp_path / "train.jsonl").read_text().splitlines() if '"at": "step"' in x]
    assert steps == list(range(2, steps[-1] + 1, 2))


def test_a_finished_stage_is_loaded_and_not_trained(toy, toy_batches, tmp_path):
    keep = Housekeeping(folder=tmp_path)
    net, stage = toy()
    first = fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, validate=net.accuracy, keep=keep)
    assert sorted(path.name for path in (tmp_path / "retrieve").iterdir()) == ["done.pt"]

    again, stage = toy()
    idle = dataclasses.replace(stage, loss=lambda history, generator: pytest.fail("trained a finished stage"))
    keep = Housekeeping(folder=tmp_path, resume=True)
    second = fit_stage(idle, toy_batches(6), settings=SETTINGS, seed=5, validate=net.accuracy, keep=keep)
    assert second == first
    assert_same_weights(again, net)


def test_without_resume_a_stage_begins_anew(toy, toy_batches, tmp_path):
    for _ in range(2):
        _, stage = toy()
        result = fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, keep=Housekeeping(folder=tmp_path))
    assert result.steps == 24
    assert len((tmp_path / "train.jsonl").read_text().splitlines()) == 4


def test_a_stage_whose_first_weights_differ_is_trained_anew(toy, toy_batches, tmp_path, caplog):
    _, stage = toy()
    fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, keep=Housekeeping(folder=tmp_path))
    net, stage = toy()

    def before() -> None:
        with torch.no_grad():
            net.head.bias += 1

    stage = dataclasses.replace(stage, before=before)
    with caplog.at_level(logging.WARNING):
        keep = Housekeeping(folder=tmp_path, resume=True)
        result = fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, keep=keep)
    assert result.steps == 24
    assert net.head.bias.mean() > 0.5
    assert "stage retrieve begins with other weights than in" in caplog.text


def test_other_options_are_refused_by_name(toy, toy_batches, tmp_path):
    net, stage = toy()
    fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, keep=Housekeeping(folder=tmp_path))
    keep = Housekeeping(folder=tmp_path, resume=True)
    _, stage = toy()
    with pytest.raises(ConfigError) as caught:
        fit_stage(stage, toy_batches(6), settings=dataclasses.replace(SETTINGS, lr=0.5), seed=5, keep=keep)
    assert str(caught.value) == (
        f"stages.retrieve.lr (0.5) must be 0.02 to resume the run in {tmp_path / 'retrieve'}; "
        "give the same options or train anew without --resume"
    )
    with pytest.raises(ConfigError, match=r"seed \(6\) must be 5 to resume"):
        fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=6, keep=keep)
    with pytest.raises(ConfigError, match=r"batches an epoch \(7\) must be 6 to resume"):
        fit_stage(stage, toy_batches(7), settings=SETTINGS, seed=5, keep=keep)
    net.extra = torch.nn.Linear(1, 1)
    stage = dataclasses.replace(stage, module=net)
    with pytest.raises(ConfigError, match=r"shapes of the model's tensors \(10, sha256 \w+\) must be 8, sha256"):
        fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, keep=keep)


def test_a_damaged_or_foreign_checkpoint_is_refused(toy, toy_batches, tmp_path):
    _, stage = toy()
    fit_stage(stage, toy_batches(2), settings=SETTINGS, seed=5, keep=Housekeeping(folder=tmp_path))
    path, keep = tmp_path / "retrieve" / "done.pt", Housekeeping(folder=tmp_path, resume=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"done.pt\) must be whole, but is damaged; train anew without --resume"):
        fit_stage(stage, toy_batches(2), settings=SETTINGS, seed=5, keep=keep)
    torch.save({"format": 99}, path)
    with pytest.raises(DataError, match=r"done.pt, format 99\) must have format 1; train anew without --resume"):
        fit_stage(stage, toy_batches(2), settings=SETTINGS, seed=5, keep=keep)
    torch.save({"format": 1, "code": os.getcwd}, path)
    with pytest.raises(DataError, match="damaged"):
        fit_stage(stage, toy_batches(2), settings=SETTINGS, seed=5, keep=keep)


def test_a_full_disk_is_one_sentence_and_the_last_checkpoint_stays(toy, toy_batches, tmp_path):
    _, stage = toy()
    keep = Housekeeping(folder=tmp_path)
    with pytest.raises(TrainingInterrupted):
        fit_stage(interrupting(stage, 4), toy_batches(6), settings=SETTINGS, seed=5, keep=keep)
    kept = (tmp_path / "retrieve" / "last.pt").read_bytes()
    _, stage = toy()
    keep = Housekeeping(folder=tmp_path, resume=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(DataError, match=r"checkpoint \(.*last.pt\) must be writable; .*: free space or give"):
            fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, keep=keep)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "retrieve" / "last.pt").read_bytes() == kept
    assert [path.name for path in (tmp_path / "retrieve").iterdir()] == ["last.pt"]


def test_a_second_ctrl_c_stops_at_once(toy, toy_batches, tmp_path):
    _, stage = toy()

    def loss(history, generator):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return pytest.fail("went on after the second one")

    stage, keep = dataclasses.replace(stage, loss=loss), Housekeeping(folder=tmp_path)
    with pytest.raises(TrainingInterrupted, match="interrupted at step 0; no checkpoint was kept"):
        fit_stage(stage, toy_batches(6), settings=SETTINGS, seed=5, keep=keep)
