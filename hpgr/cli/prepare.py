"""``hpgr prepare``: from a log to a store of sequences in sessions."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpgr.cli import log_options as option
from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, remark, show, table
from hpgr.core.errors import ConfigError
from hpgr.data.columns import DEFAULT_COLUMNS, Columns

if TYPE_CHECKING:
    from hpgr.data.store import SequenceStore


def prepare(
    log: option.Log,
    out: Annotated[Path, typer.Option("--out", metavar="STORE", help="Folder to write.")],
    items: Annotated[
        Path | None,
        typer.Option("--items", metavar="FILE", help="Table of items; its id column is named as the log's."),
    ] = None,
    user_column: option.UserColumn = DEFAULT_COLUMNS.user,
    item_column: option.ItemColumn = DEFAULT_COLUMNS.item,
    time_column: option.TimeColumn = DEFAULT_COLUMNS.time,
    event_column: option.EventColumn = DEFAULT_COLUMNS.event,
    weight_column: option.WeightColumn = DEFAULT_COLUMNS.weight,
    session_column: option.SessionColumn = DEFAULT_COLUMNS.session,
    label_column: option.LabelColumn = DEFAULT_COLUMNS.label,
    request_column: option.RequestColumn = DEFAULT_COLUMNS.request,
    features: option.Features = [],  # noqa: B006 (read only; typer wants the list itself)
    time_unit: option.Unit = None,
    session_gap: option.SessionGap = "30m",
    ties: option.Ties = "file",
    history: option.History = "positive",
    history_events: option.HistoryEvents = None,
    duplicates: option.Duplicates = "keep",
    memory_mb: Annotated[int, typer.Option("--memory-mb", min=1, metavar="N", help="Memory to build within.")] = 1024,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the store.")] = False,
    append: Annotated[
        bool,
        typer.Option("--append", help="Add the log to the store that is there, whose sessions, ties and history hold."),
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Build a store of sequences from a log.

    Events are grouped by user, ordered by time and cut into sessions; what was read is printed. With --append the days of
    another log enter a store without building it again.

    Example: hpgr prepare log.csv --out store --user-column customer
    """
    import numpy as np

    from hpgr.data.appending import append as append_to
    from hpgr.data.log import EventLog
    from hpgr.data.store import SequenceStore

    columns = Columns(
        user=user_column,
        item=item_column,
        time=time_column,
        event=event_column,
        weight=weight_column,
        session=session_column,
        label=label_column,
        request=request_column,
        features=tuple(features),
    )
    if append and overwrite:
        raise ConfigError(
            "--append and --overwrite (both given) must not be combined; one keeps the store, one replaces it"
        )
    read = EventLog.read(log, columns=columns, time_unit=option.unit_of(time_unit))
    if append:
        end_ms = int(np.max(SequenceStore.open(out).time_ms, initial=0)) if out.exists() else 0
        store = append_to(out, read, items=items, memory_mb=memory_mb)
        if read.facts.min_time_ms <= end_ms:
            remark(
                f"{log} begins before the store ends ({datetime.fromtimestamp(end_ms / 1000, timezone.utc):%Y-%m-%d %H:%M} UTC): "
                "rows that are in the store already are there twice now, unless it was prepared with --duplicates drop"
            )
    else:
        rule = option.history_rule_of(history, history_events, duplicates)
        rule.check_kinds(read)
        store = SequenceStore.build(
            read,
            out,
            sessions=option.session_rule_of(session_gap),
            ties=ties,
            items=items,
            history=rule,
            memory_mb=memory_mb,
            overwrite=overwrite,
        )
    answer = store_facts(store)
    if json:
        emit({"store": out} | answer)
    else:
        show(table(["what was read", ""], store_lines(answer)), f"store: {out}")


def store_facts(store: SequenceStore) -> dict[str, Any]:
    """What a store was read from and holds."""
    manifest = store.manifest
    return {name: manifest[name] for name in ("time_unit_note", "ties", "sessions", "history", "actions", "counts")}


def store_lines(facts: dict[str, Any]) -> list[tuple[str, Any]]:
    """The facts as rows for people."""
    counts, dropped = facts["counts"], facts["history"]["duplicates"] == "drop"
    rule = {name: value for name, value in facts["sessions"].items() if name != "class" and value is not None}
    kind = facts["sessions"]["class"].rpartition(".")[2].rpartition(":")[2]
    lines = [("times", facts["time_unit_note"]), ("order of simultaneous events", facts["ties"])]
    lines += [("sessions by", f"{kind}({', '.join(f'{name}={value:g}' for name, value in rule.items())})")]
    lines += [("kinds of event", ", ".join(facts["actions"]))] if facts["actions"] else []
    words = {"duplicates": f"events that repeat another ({'dropped' if dropped else 'kept'})"}
    return lines + [(words.get(name, name.replace("_", " ")), count) for name, count in counts.items()]
