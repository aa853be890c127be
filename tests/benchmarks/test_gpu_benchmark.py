"""What the benchmark of the kernels compares, and what it says where it cannot measure."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest
import torch


@pytest.fixture
def gpu(monkeypatch) -> ModuleType:
    module = import_module("gpu")
    monkeypatch.setattr(module, "CUDA", False)
    monkeypatch.setattr(module, "DEVICE", torch.device("cpu"))
    return module


@pytest.mark.triton
def test_check_compares_every_read_with_the_loops(gpu, capsys):
    gpu.main(["--check"])
    assert "results and gradients agree with the reference" in capsys.readouterr().out


@pytest.mark.triton
def test_a_disagreement_is_told_instead_of_a_speed(gpu, monkeypatch):
    monkeypatch.setattr(gpu, "TOLERANCES", {torch.float32: -1.0})
    found = next(gpu.disagreements(gpu.Problem(gpu.Shape(1, 2, heads=1, width=4), torch.float32), "reference"))
    with pytest.raises(
        SystemExit, match=r"no speed is printed, because results disagree:\nattention, 1 × L = 2, 1 × 4"
    ):
        gpu.refuse([found])


def test_without_a_cuda_device_it_says_so(gpu, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "installed", lambda: True)
    with pytest.raises(SystemExit) as left:
        gpu.main([])
    assert left.value.code == 2
    assert "this benchmark needs a CUDA device" in capsys.readouterr().err


def test_without_triton_it_names_the_extra(gpu, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "installed", lambda: False)
    with pytest.raises(SystemExit) as left:
        gpu.main(["--check"])
    assert left.value.code == 2
    assert "pip install -e '.[gpu]'" in capsys.readouterr().err
