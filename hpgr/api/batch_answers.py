"""Recommendations for any number of users: part by part to Parquet, in bounded memory; a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import torch
from torch import nn

from hpgr.core.errors import ConfigError, DataError

_QUESTION = "question.json"
_UNKNOWN = b"hpgr.unknown_users"

Ask = Callable[[Sequence[Any]], tuple[pl.DataFrame, int]]
"""From user ids to ``user_id, item_id, score, rank`` and how many of them nobody knows."""
Progress = Callable[[int, int], None]
"""Told how many users are done, of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchAnswer:
    """``out``: the file, or the folder of parts. ``users`` were asked for, ``unknown_users`` of them are not in the store;
    ``rows`` were written; ``resumed`` parts were there from an earlier run."""

    out: Path
    users: int
    unknown_users: int
    rows: int
    resumed: int


def answer_batch(
    users: Path,
    out: Path,
    ask: Ask,
    question: dict[str, Any],
    *,
    at_once: int = 10_000,
    progress: Progress | None = None,
) -> BatchAnswer:
    """Answer the column ``user_id``, or the only one, of the Parquet file ``users``, ``at_once`` users a part.

    ``out``: a folder, in which the parts stay; or a name in ``.parquet``, which appears when all is done, from parts in the
    folder ``OUT.parts``. ``question``: JSON values that tell this question from any other; with the digest of ``users`` they
    say whether the parts that are there belong to it. A part appears whole or not at all.

    Raises: DataError where ``out`` holds anything else, or ``users`` has no such column; ConfigError for ``at_once`` below 1.
    """
    if at_once < 1:
        raise ConfigError(f"at_once ({at_once}) must be at least 1")
    column, count = _column(users)
    question = question | {"users": _digest(users), "at_once": at_once}
    single = out.suffix == ".parquet"
    if single and out.exists():
        raise DataError(f"out ({out}, exists) must be a new file; choose another one, or remove it")
    folder = out.with_name(out.name + ".parts") if single else out
    _begin(folder, json.dumps(question, indent=1, sort_keys=True, default=str) + "\n")
    parts = [folder / f"part-{number:06d}.parquet" for number in range(-(-count // at_once))]
    resumed = sum(part.exists() for part in parts)
    for number, part in enumerate(parts):
        if not part.exists():
            start = number * at_once
            ids = pl.scan_parquet(users).select(column).slice(start, at_once).collect().to_series()
            _write(part, *ask(ids.to_list()))
        if progress is not None:
            progress(min(count, (number + 1) * at_once), count)
    facts = [pq.read_metadata(part) for part in parts]
    if single:
        _join(parts, out)
        shutil.rmtree(folder)
    return BatchAnswer(
        out=out,
        users=count,
        unknown_users=sum(int(fact.metadata[_UNKNOWN]) for fact in facts),
        rows=sum(fact.num_rows for fact in facts),
        resumed=resumed,
    )


def weights_digest(frame: nn.Module) -> str:
    """SHA-256 of all that a model has learnt."""
    found = hashlib.sha256()
    for name, tensor in frame.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _column(users: Path) -> tuple[str, int]:
    if not users.exists():
        raise DataError(f"batch ({users}) must exist; check the path")
    try:
        table = pl.scan_parquet(users)
        names = table.collect_schema().names()
        count = int(table.select(pl.len()).collect().item())
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise DataError(f"batch ({users}, not readable: {first}) must be a Parquet file of user ids") from None
    column = "user_id" if "user_id" in names else names[0] if len(names) == 1 else None
    if column is None or not count:
        raise DataError(
            f"batch ({users}) must have a column user_id and a row or more; it has {', '.join(names)}, {count} rows"
        )
    return column, count


def _digest(users: Path) -> str:
    found = hashlib.sha256()
    with users.open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def _begin(folder: Path, question: str) -> None:
    """Make the folder, or take up the one of the same question."""
    file = folder / _QUESTION
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not file.exists())):
        raise DataError(
            f"out ({folder}, exists) must be new, or hold the parts of the same question; choose another one"
        )
    if file.exists():
        if file.read_text(encoding="utf-8") != question:
            raise DataError(
                f"out ({folder}) holds the answers to another question (other users, bundle, store, moment or options); "
                "choose another one, or remove it"
            )
        for left in folder.glob(".*.unfinished"):
            left.unlink()
        return
    folder.mkdir(parents=True, exist_ok=True)
    _appear(file, lambda path: path.write_text(question, encoding="utf-8"))


def _write(part: Path, table: pl.DataFrame, unknown: int) -> None:
    rows = table.to_arrow()
    rows = rows.replace_schema_metadata({_UNKNOWN: str(unknown)})
    _appear(part, lambda path: pq.write_table(rows, path, compression="zstd"))


def _join(parts: Sequence[Path], out: Path) -> None:
    def write(path: Path) -> None:
        with pq.ParquetWriter(path, pq.read_schema(parts[0]).remove_metadata(), compression="zstd") as writer:
            for part in parts:
                writer.write_table(pq.read_table(part).replace_schema_metadata(None))

    _appear(out, write)


def _appear(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside ``path``, then take its name: whoever is killed leaves nothing half-written under it."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        write(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
