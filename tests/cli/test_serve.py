"""``hpgr serve`` refuses what cannot be served by one sentence, before it listens."""

from __future__ import annotations

import builtins
import shutil

import pytest


def test_what_is_no_bundle_state_or_key_is_told(run, road, tmp_path):
    state = f"sqlite:{tmp_path / 'state'}"
    for words, code, sentence in (
        ([tmp_path / "none", "--state", state], 1, "must be a folder that holds config.json"),
        ([road.bundle, "--state", "mysql:x"], 2, "state (mysql:x) must be sqlite:PATH or redis://HOST:PORT/DB"),
        ([road.bundle, "--state", "redis://127.0.0.1:1/0"], 1, "must be a Redis that answers"),
        ([road.bundle, "--state", state, "--workers", 2], 2, "workers (2) must be 1 with a state in SQLite"),
        ([road.bundle, "--state", state, "--api-key-file", tmp_path / "none"], 1, "check the path"),
        ([road.bundle, "--state", state, "--shadow", tmp_path / "none"], 1, "must be a folder that holds config.json"),
        ([road.bundle, "--state", state, "--shadow", road.bundle, "--shadow-share", 2], 2, "must lie in [0, 1]"),
        ([road.bundle, "--state", state, "--shadow-share", 0.3], 2, "must have a shadow bundle; give --shadow"),
        ([road.bundle, "--state", state, "--store", tmp_path / "none"], 1, "none"),
        ([road.bundle, "--state", state, "--cards", tmp_path / "none"], 1, "must be a folder of result cards"),
        ([road.bundle, "--state", state, "--no-page", "--store", road.store], 2, "must not be given with --no-page"),
    ):
        answer = run("serve", *words)
        assert (answer.code, answer.out) == (code, ""), answer.err
        assert sentence in answer.err
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1


def test_a_damaged_bundle_is_told(run, road, tmp_path):
    shutil.copytree(road.bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "model.safetensors").write_bytes(b"x")
    answer = run("serve", tmp_path / "bundle", "--state", f"sqlite:{tmp_path / 'state'}")
    assert answer.code == 1
    assert "has a damaged model.safetensors" in answer.err


def test_without_the_extra_it_says_how_to_install_it(run, road, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest):
        if name == "uvicorn":
            raise ImportError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    answer = run("serve", road.bundle)
    assert answer.code == 1
    assert (
        "hpgr serve must have uvicorn, which is not installed; install it with: pip install 'hpgr[serve]'" in answer.err
    )


@pytest.mark.parametrize("port", ["0", "99999"])
def test_a_port_that_is_none_is_wrong_usage(run, road, port):
    assert run("serve", road.bundle, "--port", port).code == 2
