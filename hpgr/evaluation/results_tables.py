"""What a table of results was asked, in one line, and the table as Markdown between the marks of a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hpgr.core.errors import DataError
from hpgr.evaluation.standing_row import Row
from hpgr.evaluation.standings import Standing
from hpgr.evaluation.table import formatted, number
from hpgr.evaluation.writing import write_whole

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"


def asked(table: Standing) -> str:
    """Candidates, users, questions, what makes them hard or easy, seeds and trials; the certificate's hash is left out.

    A fact that the certificate lacks is not said."""
    card = table.card
    facts, part = card.certificate.facts, card.protocol.targets.split(";")[0]
    questions = facts.get("requests") if card.protocol.candidates.startswith("exposed") else facts.get("queries")
    said, users = [card.protocol.candidates], max((metric.num_users for metric in card.metrics.values()), default=0)
    # The certificate counts the questions of the test part alone.
    if questions is not None and part.startswith("test part"):
        said.append(f"{questions:,} questions in the test part")
    if limit := re.search(r", (\d+) spread evenly$", part):
        said.append(f"{int(limit[1]):,} of them asked, spread evenly")
    if users:
        said.append(f"metrics over {users:,} users")
    if "cold_target_share" in facts and "repeat_target_share" in facts:
        said.append(
            f"{facts['cold_target_share']:.1%} of next-item targets outside the catalogue, "
            f"{facts['repeat_target_share']:.1%} repeats"
        )
    if later := facts.get("train_later_than_a_test_event_share"):
        said.append(f"{later:.1%} of training events later than a test event")
    return "; ".join([*said, *_effort(table)])


def _effort(table: Standing) -> list[str]:
    """Seeds, where all models have the same number above one, and trials of the tuned models."""
    seeds, trials = {len(row.seeds) for row in table.rows}, {row.trials for row in table.rows} - {0}
    said = [f"{min(seeds)} seeds"] if len(seeds) == 1 and min(seeds) > 1 else []
    return [*said, *([f"{' or '.join(map(str, sorted(trials)))} trials a tuned model"] if trials else [])]


def markdown_tables(tables: Sequence[Standing]) -> str:
    """Heading, what was asked, and a Markdown table of the main metrics, for each table."""
    return "\n".join(_block(table) for table in tables)


def write_markdown(tables: Sequence[Standing], path: Path) -> None:
    """Put the tables between the marks of ``path``, or into a page of their own where there is no such file.

    Raises: DataError where the file has no such marks.
    """
    text, made = f"{BEGIN}\n\n{END}\n", markdown_tables(tables)
    if path.exists():
        text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"{path} (no marks) must have the lines {BEGIN} and {END}; put them where the tables belong")
    write_whole(path, f"{before}{BEGIN}\n\n{made}\n{END}{after}".encode())


def _block(table: Standing) -> str:
    main = table.main
    several = len({len(row.seeds) for row in table.rows}) > 1
    header = ["model", *main, *(["seeds"] if several else []), "budget", "training s", "parameters"]
    rows = [header, ["---", *("---" if name == "budget" else "---:" for name in header[1:])]]
    for row in table.rows:
        seeds = [str(len(row.seeds))] if several else []
        size = "–" if row.num_parameters is None else f"{row.num_parameters:,}"
        flag = " †" if row.below else ""
        seconds = "–" if row.training_s is None else f"{row.training_s:,.0f}"
        rows.append(
            [
                row.label + flag,
                *(shown(row, name) for name in main),
                *seeds,
                budget(row),
                seconds,
                size,
            ]
        )
    lines = ["| " + " | ".join(cell_text(cell) for cell in cells) + " |" for cells in rows]
    below = any(row.below for row in table.rows)
    note = ["", f"† below a counting baseline in {table.metrics[0]}."] if below else []
    facts = f"{cell_text(asked(table))}; certificate `{table.card.certificate.hash[:12]}`."
    return "\n".join([f"### {cell_text(table.name)}", "", facts, "", *lines, *note, ""])


def budget(row: Row) -> str:
    """``rank 10 × 240, 4 trials``: of each stage epochs at most and batches of an epoch, then the trials; ``–`` for none of it."""
    stages = [f"{stage} {of['epochs']} × {of['limit_batches'] or 'all'}" for stage, of in row.budget.items()]
    return ", ".join([*stages, *([f"{row.trials} trials"] if row.trials else [])]) or "–"


def shown(row: Row, metric: str) -> str:
    text = formatted(row.metrics.get(metric))
    spread = row.spread.get(metric)
    return text if spread is None else re.sub(r"^(\S+)", rf"\1 ± {number(spread)}", text)


def cell_text(cell: str) -> str:
    """Safe in a Markdown cell or heading: no markup, no new column or line."""
    cell = " ".join(cell.split())
    return cell.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
