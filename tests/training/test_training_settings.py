from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.training.settings import Housekeeping, StageSettings, chosen_precision


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs (0) must be at least 1"),
        ({"warmup_steps": -1}, "warmup_steps (-1) must be at least 0"),
        ({"patience": 0}, "patience (0) must be at least 1"),
        ({"limit_batches": 0}, "limit_batches (0) must be at least 1"),
        ({"lr": 0.0}, "lr (0.0) must be positive and finite"),
        ({"lr": float("nan")}, "lr (nan) must be positive and finite"),
        ({"clip": -1.0}, "clip (-1.0) must be positive and finite"),
        ({"weight_decay": -0.1}, "weight_decay (-0.1) must be finite and not negative"),
        ({"inherited_lr_ratio": -1.0}, "inherited_lr_ratio (-1.0) must be finite and not negative"),
        ({"betas": (0.9, 1.0)}, "betas ((0.9, 1.0)) must be two numbers in [0, 1)"),
        ({"betas": (0.9,)}, "betas ((0.9,)) must be two numbers in [0, 1)"),
        ({"schedule": "linear"}, "schedule (linear) must be one of constant, cosine"),
        ({"precision": "16"}, "precision (16) must be one of auto, 32, bf16"),
        ({"metric": ""}, "metric ('') must be the name of a validation metric, or auto"),
    ],
)
def test_a_wrong_option_is_named_with_its_rule(options, message):
    with pytest.raises(ConfigError) as caught:
        StageSettings(**options)
    assert str(caught.value) == message


def test_none_switches_off():
    settings = StageSettings(clip=None, patience=None, limit_batches=None)
    assert (settings.clip, settings.patience, settings.limit_batches) == (None, None, None)


def test_housekeeping_is_checked_too():
    with pytest.raises(ConfigError, match=r"log_every_steps \(0\) must be at least 1"):
        Housekeeping(log_every_steps=0)
    with pytest.raises(ConfigError, match=r"checkpoint_every_steps \(0\) must be at least 1"):
        Housekeeping(checkpoint_every_steps=0)
    with pytest.raises(ConfigError, match=r"resume \(True\) must come with the folder of the run to resume"):
        Housekeeping(resume=True)


@pytest.mark.parametrize(
    ("asked", "accelerator", "cuda", "chosen"),
    [
        ("auto", "auto", True, "bf16-mixed"),
        ("auto", "auto", False, "32-true"),
        ("auto", "cpu", True, "32-true"),
        ("32", "auto", True, "32-true"),
        ("bf16", "cpu", False, "bf16-mixed"),
    ],
)
def test_precision_follows_the_device_only_where_asked_to(monkeypatch, asked, accelerator, cuda, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda)
    assert chosen_precision(asked, accelerator) == chosen
