"""Every command explains itself, and the shell sees the contract's exit codes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from hpgr import __version__
from hpgr.cli.main import COMMANDS

NAMES = [command.__name__ for command in COMMANDS]


def shell(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from hpgr.cli.main import main; main()", *words],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_there_are_fourteen_commands():
    assert len(set(NAMES)) == 14


@pytest.mark.parametrize("name", NAMES)
def test_help_has_an_example_and_the_common_options(run, name):
    answer = run(name, "--help")
    assert answer.code == 0
    assert f"Example: hpgr {name}" in answer.out
    assert "--json" in answer.out
    assert "--debug" in answer.out


def test_help_lists_every_command_and_loads_no_torch(run):
    answer = run("--help")
    assert answer.code == 0
    for name in NAMES:
        assert f"\n  {name} " in answer.out
    code = "import sys, hpgr.cli.main; sys.exit(1 if {'torch', 'polars', 'lightning'} & set(sys.modules) else 0)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_the_shell_sees_exit_codes_and_one_sentence_without_a_traceback(tmp_path):
    said = shell("--version")
    assert (said.returncode, said.stdout) == (0, f"hpgr {__version__}\n")
    failed = shell("prepare", str(tmp_path / "none.csv"), "--out", str(tmp_path / "store"))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == f"error: log ({tmp_path / 'none.csv'}) must exist; check the path\n"
    assert shell("prepare", "log.csv").returncode == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["docter"], "No such command 'docter'. Did you mean 'doctor'?"),
        (["doctor"], "Missing argument 'LOG'."),
        (["simulate", "--users", "0", "--out", "x.parquet"], "Input should be greater than or equal to 1"),
        (["recommend", "bundle", "-k", "0", "--user", "1"], "Input should be greater than or equal to 1"),
        (["train", "store", "--model", "hpgr"], "Missing option '--out'"),
        (["train", "store", "--out", "bundle"], "one of --model and --recipe must be given"),
        (["doctor", "log.csv", "--sesion-gap", "1h"], "No such option: --sesion-gap"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_usage_exits_2(run, words, sentence):
    answer = run(*words)
    assert answer.code == 2
    assert sentence in answer.err
