"""A training that was killed or stopped goes on to the weights of an unbroken one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpgr.training.module import StageModule

OPTIONS = (
    *("--set", "windows.max_len=20", "--set", "windows.batch_tokens=512", "--set", "candidates.batch_tokens=1024"),
    *("--set", "stages.retrieve.epochs=2", "--set", "stages.rank.epochs=6", "--set", "stages.rank.patience=none"),
    *("--set", "stages.rank.limit_batches=2"),
)


def weights(bundle: Path) -> bytes:
    return (bundle / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def unbroken(road, tmp_path_factory) -> bytes:
    """The weights of a training that nothing disturbed."""
    bundle = tmp_path_factory.mktemp("unbroken") / "bundle"
    out, err = (process := command(road.store, bundle)).communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), out
    return weights(bundle)


def command(store: Path, bundle: Path, *more: str) -> subprocess.Popen[str]:
    code = "from hpgr.cli.main import main; main()"
    words = [sys.executable, "-c", code, "train", store, "--model", "hpgr", "--out", bundle, *OPTIONS, *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(map(str, words), text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, **pipes)


def test_a_killed_training_resumes_to_the_same_file(road, unbroken, tmp_path):
    bundle, log = tmp_path / "bundle", tmp_path / "bundle.training" / "train.jsonl"
    killed = command(road.store, bundle)
    until = time.monotonic() + 300
    while not (log.exists() and '"at": "epoch", "stage": "rank"' in log.read_text()):
        assert time.monotonic() < until
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not bundle.exists()
    resumed = command(road.store, bundle, "--resume")
    out, err = resumed.communicate(timeout=300)
    assert (resumed.returncode, err) == (0, "")
    assert "\x1b" not in out
    assert weights(bundle) == unbroken
    steps = [json.loads(line) for line in (bundle / "train.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in steps if line["stage"] == "rank" and line["at"] == "epoch"] == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(road, run, unbroken, tmp_path, monkeypatch):
    bundle, words = tmp_path / "bundle", ("train", road.store, "--model", "hpgr", *OPTIONS, "--out")
    step, calls = StageModule.training_step, []

    def pressed(module, batch, batch_idx):
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return step(module, batch, batch_idx)

    monkeypatch.setattr(StageModule, "training_step", pressed)
    answer = run(*words, bundle)
    monkeypatch.undo()
    kept = tmp_path / "bundle.training"
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == (
        f"error: training of stage 'retrieve' was interrupted at step 2; its checkpoint is in {kept / 'retrieve'}: "
        "run the same command with --resume to go on\n"
    )
    answer = run(*words, bundle)
    assert answer.code == 1
    assert answer.err == (
        f"error: training folder ({kept}, of a stopped training) must not exist yet; add --resume to go on, "
        "or --overwrite to begin anew\n"
    )
    answer = run(*words, bundle, "--resume", "--seed", 2)
    assert answer.code == 2
    assert answer.err.startswith("error: seed (2) must be 1 to resume the run in ")
    assert run(*words, bundle, "--resume").code == 0
    assert weights(bundle) == unbroken
