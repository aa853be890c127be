"""Recommendations for any number of users: part by part to Parquet, in bounded memory; a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from hpgr.core.errors import ConfigError, DataError
from hpgr.data.files import appearing, sha256

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

    Raises: DataError where ``out`` holds anything else, ``users`` has no such column, or nothing is answered, which leaves nothing;
    ConfigError for ``at_once`` below 1.
    """
    if at_once < 1:
        raise ConfigError(f"at_once ({at_once}) must be at least 1")
    column, count = _column(users)
    question = question | {"users": sha256(users), "at_once": at_once}
    single = out.suffix == ".parquet"
    folder = out.with_name(out.name + ".parts") if single else out
    joined = single and out.exists()
    if joined and not folder.exists():
        raise DataError(f"out ({out}, exists) must be a new file; choose another one, or remove it")
    _begin(folder, json.dumps(question, indent=1, sort_keys=True, default=str) + "\n")
    parts = [folder / f"part-{number:06d}.parquet" for number in range(-(-count // at_once))]
    resumed = sum(part.exists() for part in parts)
    if joined and (resumed < len(parts) or _facts(out).num_rows != sum(_facts(part).num_rows for part in parts)):
        raise DataError(f"out ({out}, exists) must be a new file, and is not of the parts in {folder}; remove it")
    for number, part in enumerate(parts):
        if not part.exists():
            start = number * at_once
            ids = pl.scan_parquet(users).select(column).slice(start, at_once).collect().to_series()
            _write(part, *ask(ids.to_list()))
        if progress is not None:
            progress(min(count, (number + 1) * at_once), count)
    facts = [_facts(part) for part in parts]
    rows = sum(fact.num_rows for fact in facts)
    if not rows:
        _remove(folder, parts)
        raise DataError(
            f"recommendations (0 for {count} users of {users}) must be at least one; check that {column} holds ids of the store"
        )
    for left in folder.glob(".*.part"):
        left.unlink(missing_ok=True)
    if single:
        if not joined:
            _join(parts, out)
        _remove(folder, parts)
    return BatchAnswer(
        out=out,
        users=count,
        unknown_users=sum(int(fact.metadata[_UNKNOWN]) for fact in facts),
        rows=rows,
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
        schema = table.collect_schema()
        names = schema.names()
        count = int(table.select(pl.len()).collect().item())
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise DataError(f"batch ({users}, not readable: {first}) must be a Parquet file of user ids") from None
    column: str | None = "user_id" if "user_id" in names else names[0] if len(names) == 1 else None
    if column is None or not count:
        raise DataError(
            f"batch ({users}) must have a column user_id and a row or more; it has {', '.join(names)}, {count} rows"
        )
    kind, nulls = schema[column], int(table.select(pl.col(column).null_count()).collect().item())
    if nulls or not (kind.is_integer() or kind == pl.String):
        raise DataError(
            f"{column} of batch ({users}; {kind}, {nulls} nulls) must be whole numbers or texts without nulls"
        )
    return column, count


def _begin(folder: Path, question: str) -> None:
    """Make the folder, or take up the one of the same question; one without an answer yet belongs to nobody."""
    file = folder / _QUESTION
    if folder.exists() and not folder.is_dir():
        raise DataError(f"out ({folder}, a file) must be a folder or a name in .parquet; choose another one")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    others = {name for name in names if not (name.startswith(".") and name.endswith(".part"))}
    if others and _QUESTION not in others:
        raise DataError(
            f"out ({folder}, exists) must be new, or hold the parts of the same question; choose another one"
        )
    if others == {_QUESTION} or not others:
        with appearing(file) as part:
            part.write_text(question, encoding="utf-8")
    elif file.read_text(encoding="utf-8") != question:
        raise DataError(
            f"out ({folder}) holds the answers to another question (other users, bundle, store, moment or options); "
            "choose another one, or remove it"
        )


def _remove(folder: Path, parts: Sequence[Path]) -> None:
    """What was written here, and the folder if nothing else is in it."""
    for file in (*parts, folder / _QUESTION, *folder.glob(".*.part")):
        file.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _facts(part: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(part)
    except pa.ArrowInvalid:
        raise DataError(f"part ({part}, damaged) must be as it was written; remove it and ask again") from None


def _write(part: Path, table: pl.DataFrame, unknown: int) -> None:
    rows = table.to_arrow().replace_schema_metadata({_UNKNOWN: str(unknown)})
    with appearing(part) as new:
        pq.write_table(rows, new, compression="zstd")


def _join(parts: Sequence[Path], out: Path) -> None:
    schema = pq.read_schema(parts[0]).remove_metadata()
    with appearing(out) as new, pq.ParquetWriter(new, schema, compression="zstd") as writer:
        for part in parts:
            writer.write_table(pq.read_table(part).replace_schema_metadata(None))
