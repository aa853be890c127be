"""One small simulated log, its store and two bundles, made once by the commands themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpgr.cli.main import app

QUICK = (
    *("--set", "windows.max_len=20", "--set", "windows.batch_tokens=512", "--set", "candidates.batch_tokens=1024"),
    *("--set", "stages.retrieve.epochs=1", "--set", "stages.rank.epochs=1"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


Run = Callable[..., Answer]


def invoke(*words: object) -> Answer:
    """Run a command in this process."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


def fine(*words: object) -> str:
    """The output of a command that must succeed."""
    answer = invoke(*words)
    assert answer.code == 0, answer.err
    return answer.out


@dataclass(frozen=True, slots=True)
class Road:
    """What the commands wrote one after the other."""

    log: Path
    items: Path
    store: Path
    bundle: Path
    counts: Path


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """A log of 60 users, its store, a bundle of HPGR and one of popularity."""
    folder = tmp_path_factory.mktemp("road")
    made = Road(*(folder / name for name in ("log.parquet", "log.items.parquet", "store", "bundle", "counts")))
    fine("simulate", "--users", 60, "--items", 80, "--days", 20, "--out", made.log)
    fine("prepare", made.log, "--out", made.store, "--items", made.items, "--history-events", "view")
    fine("train", made.store, "--model", "hpgr", "--out", made.bundle, *QUICK)
    fine("train", made.store, "--model", "popularity", "--out", made.counts, *QUICK[:4])
    return made


@pytest.fixture
def run() -> Run:
    """``run(*words)``: exit code and output of a command."""
    return invoke
