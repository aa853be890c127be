"""A killed, interrupted or failed write leaves nothing, and what there was stays."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import DataError
from hpgr.data.atomic_folder import new_folder
from hpgr.data.log import EventLog
from hpgr.data.store import SequenceStore

BUILD = """
import sys
from hpgr.data.log import EventLog
from hpgr.data.store import SequenceStore
SequenceStore.build(EventLog.read(sys.argv[1]), sys.argv[2], overwrite=True)
"""


def small_log() -> pl.DataFrame:
    return pl.DataFrame({"user_id": [1, 1], "item_id": [1, 2], "timestamp": [1_700_000_000, 1_700_000_001]})


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted_build(log: Path, store: Path, how: signal.Signals) -> None:
    """Start a build in another process and end it by ``how`` as soon as it has written something."""
    command = [sys.executable, "-c", BUILD, str(log), str(store)]
    # A shell's background job ignores SIGINT and hands that down.
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, preexec_fn=_heed_interrupts)
    deadline = time.monotonic() + 60
    while not list(store.parent.glob(f".{store.name}.partial-*/scratch/*")):
        assert process.poll() is None, "the build ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(how)
    assert process.wait() != 0


def test_only_what_a_run_of_its_kind_wrote_is_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "data"
    mine.mkdir()
    small_log().write_parquet(mine / "log.parquet")
    with pytest.raises(DataError, match=r"data \(no manifest.json in it\) must be empty or of the kind"):
        SequenceStore.build(EventLog.read(mine / "log.parquet"), mine, overwrite=True)
    assert (mine / "log.parquet").exists()
    store = SequenceStore.build(EventLog.read(mine / "log.parquet"), tmp_path / "store")
    small_log().write_parquet(store.path / "log.parquet")
    with pytest.raises(DataError, match=r"must not hold what is read \(.*log.parquet\), to be overwritten"):
        SequenceStore.build(EventLog.read(store.path / "log.parquet"), store.path, overwrite=True)
    (tmp_path / "empty").mkdir()
    assert SequenceStore.build(EventLog.read(small_log()), tmp_path / "empty", overwrite=True).num_events == 2


@pytest.fixture(scope="module")
def large_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    rng = np.random.default_rng(0)
    size = 3_000_000
    columns = {name: rng.integers(0, 10_000, size) for name in ("user_id", "item_id")}
    pl.DataFrame(columns | {"timestamp": rng.integers(1_600_000_000, 1_700_000_000, size)}).write_parquet(path)
    return path


def test_a_kill_leaves_no_half_store_and_the_next_run_sweeps(large_log: Path, tmp_path: Path) -> None:
    interrupted_build(large_log, tmp_path / "store", signal.SIGKILL)
    assert not (tmp_path / "store").exists()
    left = [path.name for path in tmp_path.iterdir()]
    assert len(left) == 1
    assert left[0].startswith(".store.partial-")
    SequenceStore.build(EventLog.read(small_log()), tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_an_interrupt_leaves_nothing_and_keeps_the_old_store(large_log: Path, tmp_path: Path) -> None:
    before = SequenceStore.build(EventLog.read(small_log()), tmp_path / "store").manifest
    interrupted_build(large_log, tmp_path / "store", signal.SIGINT)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert SequenceStore.open(tmp_path / "store").manifest == before


@pytest.mark.parametrize(
    ("writer", "error"),
    [
        ("column_files.ColumnWriter.append", OSError(errno.ENOSPC, "No space left on device")),
        ("building.write_tables", pl.exceptions.ComputeError("parquet: No space left on device (os error 28)")),
    ],
    ids=["column", "table"],
)
def test_a_full_disk_gets_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch, writer, error) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(f"hpgr.data.{writer}", full)
    with pytest.raises(DataError, match=r"disk of .* \(full\) must have room for store; free some space"):
        SequenceStore.build(EventLog.read(small_log()), tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_other_failures_are_passed_on(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), new_folder(tmp_path / "new", marker="manifest.json"):
        raise PermissionError(errno.EACCES, "no")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_overwrite_moved_away_comes_back(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = os.uname().nodename
    (tmp_path / f".store.replaced-{host}-{ended.pid}-1").mkdir()
    (tmp_path / f".store.replaced-{host}-{ended.pid}-1" / "old").touch()
    (tmp_path / f".store.partial-{host}-{os.getpid()}-2").mkdir()
    with pytest.raises(DataError, match="exists"), new_folder(tmp_path / "store", marker="manifest.json"):
        pass
    assert (tmp_path / "store" / "old").exists()
    assert sorted(path.name[:14] for path in tmp_path.iterdir()) == [".store.partial", "store"]
