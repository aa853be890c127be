"""How recommendations are told: tables, JSON values, files, and what could not be answered."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpgr.cli.output import emit, remark, show, table

if TYPE_CHECKING:
    import polars as pl

    from hpgr.api.batch_answers import BatchAnswer
    from hpgr.api.recommendations import Recommendations


def say_unknown(found: Recommendations) -> None:
    """Name what could not be answered or read, on standard error."""
    for kind, ids in (
        ("user", found.unknown_users),
        ("item", found.unknown_items),
        ("candidate", found.unknown_candidates),
    ):
        for id_ in ids:
            remark(f"{kind} {id_} is not known to the model's log")
    if found.dropped:
        remark(f"{found.dropped} events of the histories are not before the moment asked about; they are left out")


def answer_tree(found: Recommendations) -> dict[str, Any]:
    """JSON values of an answer."""
    return {
        "recommendations": found.table.to_dicts(),
        "explanations": None if found.explanations is None else found.explanations.to_dicts(),
        "unknown_users": found.unknown_users,
        "unknown_items": found.unknown_items,
        "unknown_candidates": found.unknown_candidates,
        "dropped_events": found.dropped,
    }


def recommendation_table(frame: pl.DataFrame) -> Any:
    """A row an item."""
    return table(["user", "rank", "item", "score"], _as_ids(frame).select("user_id", "rank", "item_id", "score").rows())


def explanation_table(frame: pl.DataFrame) -> Any:
    """A row for each event that an item was recommended by."""
    import polars as pl

    when = pl.from_epoch("event_time_ms", time_unit="ms").dt.strftime("%Y-%m-%d %H:%M")
    rows = (
        _as_ids(frame)
        .with_columns(when.alias("when"))
        .select("user_id", "rank", "item_id", "event_item_id", "when", "session", "weight", "score_without", "change")
    )
    header = ["user", "rank", "item", "because of", "at (UTC)", "session", "weight", "score without", "change"]
    return table(header, rows.rows(), title="The events that matter most by the model's own account")


def tell_batch(done: BatchAnswer, *, json: bool) -> None:
    """What a batch has left on the disk."""
    if done.unknown_users:
        remark(f"{done.unknown_users:,} users are not known to the store")
    if json:
        emit(asdict(done))
    else:
        went_on = f"; {done.resumed:,} parts were there already" if done.resumed else ""
        show(f"{done.rows:,} recommendations for {done.users - done.unknown_users:,} users: {done.out}{went_on}")


def _as_ids(frame: pl.DataFrame) -> pl.DataFrame:
    """Ids as text, so that they are written as the user writes them and can be copied."""
    import polars as pl

    return frame.with_columns(pl.col("^.*(user|item)_id$").cast(pl.String))


def write_answer(frame: pl.DataFrame, out: Path) -> None:
    """As CSV or Parquet, by the ending of ``out``."""
    from hpgr.data.files import appearing

    with appearing(out) as part:
        if out.suffix == ".csv":
            frame.write_csv(part)
        else:
            frame.write_parquet(part)
