"""What is wrong or risky in a log, found before training does."""

from __future__ import annotations

import time
from typing import Any

from hpgr.core.errors import HpgrError, UnknownNameError
from hpgr.data.columns import DEFAULT_COLUMNS, Columns
from hpgr.data.doctor_checks import history_findings
from hpgr.data.finding import Finding, Findings
from hpgr.data.history_rule import DEFAULT_HISTORY, HistoryRule
from hpgr.data.log import EventLog, TimeUnit
from hpgr.data.sessions import SessionRule, session_rule
from hpgr.data.store_plan import StorePlan


def examine(
    log: Any,
    *,
    columns: Columns = DEFAULT_COLUMNS,
    time_unit: TimeUnit | None = None,
    sessions: SessionRule | str = "30m",
    ties: str = "file",
    history: HistoryRule = DEFAULT_HISTORY,
    now_ms: int | None = None,
    order: bool = False,
) -> Findings:
    """Everything found in ``log``, an ``EventLog`` or what ``EventLog.read`` takes with ``columns`` and ``time_unit``.

    An error is what a build would refuse, or what leaves nothing to learn or to rank; the history is examined only
    where there is none. Times after ``now_ms`` (default: the clock) are in the future. ``order``: also how much of
    the order is left when events are shuffled.
    """
    found: list[Finding] = []
    plan = None
    try:
        rule = session_rule(sessions) if isinstance(sessions, str) else sessions
        plan = StorePlan(sessions=rule, ties=ties, history=history)
    except HpgrError as error:
        found.append(Finding("error", "option", str(error)))
    try:
        log = log if isinstance(log, EventLog) else EventLog.read(log, columns=columns, time_unit=time_unit)
        log = plan.ordered(log) if plan is not None else log
        found += [Finding("error", problem.code, problem.message) for problem in log.problems]
        if plan is not None and not log.problems:
            found.append(Finding("note", "time_unit", log.facts.time_unit_note))
            found += [Finding("error", problem.code, problem.message) for problem in plan.problems(log)]
            try:
                history.check_kinds(log)
            except UnknownNameError as error:
                found.append(Finding("risk", "unknown_kind", str(error)))
    except HpgrError as error:
        return Findings.of([*found, Finding("error", "unreadable", str(error))])
    if plan is not None and not any(finding.level == "error" for finding in found):
        now_ms = int(time.time() * 1000) if now_ms is None else now_ms
        found += history_findings(log, plan, now_ms, shuffle=order)
    return Findings.of(found)
