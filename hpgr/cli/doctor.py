"""``hpgr doctor``: what is wrong or risky in a log, before anything is trained on it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from hpgr.cli import log_options as option
from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, show, table
from hpgr.data.columns import DEFAULT_COLUMNS, Columns


def doctor(
    log: option.Log,
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
    order: Annotated[
        bool, typer.Option("--order", help="Also shuffle events: how much of the order is order?")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is wrong or risky in a log.

    An error would corrupt a result (exit code 1), a risk can mislead, a note is good to know. Options are prepare's.

    Example: hpgr doctor log.parquet --ties set
    """
    from hpgr.data.doctor import examine

    found = examine(
        log,
        columns=Columns(
            user=user_column,
            item=item_column,
            time=time_column,
            event=event_column,
            weight=weight_column,
            session=session_column,
            label=label_column,
            request=request_column,
            features=tuple(features),
        ),
        time_unit=option.unit_of(time_unit),
        sessions=session_gap,
        ties=ties,
        history=option.history_rule_of(history, history_events, duplicates),
        order=order,
    )
    if json:
        emit({"log": log, "errors": len(found.errors), "findings": [asdict(finding) for finding in found.all]})
    else:
        rows = [(finding.level, finding.code, finding.message) for finding in found.all]
        show(table(["level", "code", "what was found"], rows))
    if found.errors:
        raise typer.Exit(1)
