"""A folder that is written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from hpgr.core.errors import DataError


@contextmanager
def new_folder(path: Path, *, marker: str, overwrite: bool = False, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """A temporary sibling of ``path`` to write into; at the end it is synced and takes the place of ``path``.

    On any error or interrupt it is removed and ``path`` stays as it was. What killed runs left beside ``path`` is
    swept away. Only a folder with the file ``marker``, which tells its kind, or an empty one is overwritten, and none that
    holds one of ``inputs``.

    Raises: DataError if ``path`` exists and is not to be overwritten, or the disk is full.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    if path.exists() and not overwrite:
        raise DataError(f"{path} (exists) must be a new path; choose another one, or overwrite it")
    check_replaceable(path, marker, inputs)
    working = _sibling(path, "partial")
    try:
        working.mkdir()
        yield working
        _sync(working)
        _take_place(working, path)
    except (OSError, pl.exceptions.PolarsError) as error:
        if not _is_full(error):
            raise
        raise DataError(f"disk of {path.parent} (full) must have room for {path.name}; free some space") from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def check_replaceable(path: Path, marker: str, inputs: Sequence[Path] = ()) -> None:
    """Raises: DataError if replacing ``path`` would lose what no run of its kind wrote: a file, a folder with other files and no
    ``marker``, or one of ``inputs``."""
    if path.exists() and not (path / marker).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise DataError(
            f"{path} (no {marker} in it) must be empty or of the kind that is to be written, to be overwritten; choose another "
            "path, or remove it"
        )
    for held in inputs:
        if path.exists() and held.resolve().is_relative_to(path.resolve()):
            raise DataError(f"{path} must not hold what is read ({held}), to be overwritten; choose another path")


def _is_full(error: Exception) -> bool:
    # Polars tells a full disk by text alone.
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


def _sibling(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _take_place(working: Path, path: Path) -> None:
    if path.exists():
        old = _sibling(path, "replaced")
        path.rename(old)
        working.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        working.rename(path)
    _sync_entry(path.parent)


def _sync(folder: Path) -> None:
    for entry in folder.rglob("*"):
        _sync_entry(entry)
    _sync_entry(folder)


def _sync_entry(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(path: Path) -> None:
    """Remove what dead processes of this machine left; a folder that a killed overwrite had moved away comes back."""
    for kind in ("replaced", "partial"):
        prefix = f".{path.name}.{kind}-{socket.gethostname()}-"
        for entry in path.parent.iterdir():
            owner = entry.name.removeprefix(prefix).split("-")[0]
            if not entry.name.startswith(prefix) or _is_alive(int(owner)):
                continue
            if kind == "replaced" and not path.exists():
                entry.rename(path)
            else:
                shutil.rmtree(entry, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
