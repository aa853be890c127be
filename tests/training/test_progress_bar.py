from __future__ import annotations

import io

import pytest
from rich.console import Console

from hpgr.training import progress, stages
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage


@pytest.mark.parametrize("terminal", [True, False])
def test_shows_epoch_batches_and_losses_on_a_terminal_only(toy, toy_batches, monkeypatch, terminal):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=120)
    bar = progress.ProgressBar
    monkeypatch.setattr(stages, "ProgressBar", lambda *given: bar(*given, console=console))
    _, stage = toy()
    fit_stage(stage, toy_batches(4), settings=StageSettings(epochs=2), seed=1, keep=Housekeeping(progress=True))
    if terminal:
        assert "retrieve 2/2" in shown.getvalue()
        assert "4/4" in shown.getvalue()
        assert "loss" in shown.getvalue()
        assert "noise 0.0" in shown.getvalue()
    else:
        assert shown.getvalue() == ""


def test_a_pipe_stays_empty(toy, toy_batches, capfd):
    _, stage = toy()
    fit_stage(stage, toy_batches(4), settings=StageSettings(epochs=1), seed=1, keep=Housekeeping(progress=True))
    assert capfd.readouterr() == ("", "")
