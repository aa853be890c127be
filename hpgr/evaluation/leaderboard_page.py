"""The leaderboard as one HTML page: readable offline, in light and dark, sorted by click or key; loads nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from hpgr.core.units import human_bytes
from hpgr.evaluation.headlines import is_baseline
from hpgr.evaluation.intervals import Interval
from hpgr.evaluation.results_tables import asked, budget
from hpgr.evaluation.standing_row import UNKNOWN_COMMIT, Row
from hpgr.evaluation.standings import Standing
from hpgr.evaluation.table import number

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5c6470; --line: #d9dde3; --page: #ffffff; --box: #f5f6f8;
  --mark: #0072b2; --flag: #b04a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ec; --soft: #a3abb8; --line: #3a404a; --page: #16181d; --box: #1f2228; --mark: #56b4e9;
    --flag: #ff9a4d; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 90rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--page); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
p { color: var(--soft); max-width: 60rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap;
  vertical-align: top; }
thead button { all: unset; cursor: pointer; font-weight: 600; }
button:focus-visible, .scroll:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
[aria-sort=descending] button::after { content: " ↓"; } [aria-sort=ascending] button::after { content: " ↑"; }
tbody th { font-weight: 400; } .counting { color: var(--soft); } .flag { color: var(--flag); font-size: .75rem; }
.range { color: var(--soft); font-size: .75rem; } svg { display: block; stroke: var(--mark); fill: var(--mark); }
body:not(.every) .more { display: none; }
"""
_SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  const sort = column => {
    const down = heads[column].getAttribute("aria-sort") !== "descending", body = table.tBodies[0];
    heads.forEach(head => head.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.value;
    const order = (x, y) => heads[column].dataset.kind === "text" ? x.localeCompare(y) : x - y;
    const compared = (x, y) => x === "" || y === "" ? (x === "") - (y === "") : (down ? -1 : 1) * order(x, y);
    body.append(...[...body.rows].sort((a, b) => compared(value(a), value(b))));
  };
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => sort(column)));
}
const every = document.getElementById("every");
const shown = () => document.body.classList.toggle("every", every.checked);
every.addEventListener("change", shown);
shown();
"""
_NOTE = (
    "Means over users, and over seeds where there are several; ± is the standard deviation over seeds. The interval of one seed is over "
    "users alone and does not contain other training seeds. Budget: of each stage, epochs at most × batches of an epoch. "
    "Tables of unlike certificates or protocols answer unlike questions: compare inside a table only."
)
_WIDTH, _HEIGHT, _MARGIN = 96, 10, 4
Cell = tuple[str, str]
"""What a cell sorts by, empty where nothing is known, and its markup."""


def page(tables: Sequence[Standing], *, title: str = "Leaderboard") -> str:
    """The page for the tables, as text."""
    sections = "".join(_section(table) for table in tables)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><p>{_NOTE}</p>"
        '<p><label><input type="checkbox" id="every"> every metric</label></p>\n'
        f"{sections}<script>{_SCRIPT}</script></body></html>\n"
    )


def _section(table: Standing) -> str:
    main = table.main
    scales = {name: _scale([row.metrics[name] for row in table.rows if name in row.metrics]) for name in table.metrics}
    heads = [_head("model", "text")]
    heads += [_head(name, "number", more=name not in main) for name in table.metrics]
    heads += [_head(name, "text" if name in _TEXTS else "number") for name in _FACTS]
    rows = []
    for row in table.rows:
        cells = [_cell(_metric(row, name, scales[name]), "td", more=name not in main) for name in table.metrics] + [
            _cell(cell, "td") for cell in _facts(row)
        ]
        rows.append(f"<tr>{_cell(_model(row, table), 'th')}{''.join(cells)}</tr>\n")
    return (
        f"<section><h2>{escape(table.name)}</h2><p>{escape(asked(table))}; certificate "
        f"<code>{escape(table.card.certificate.hash[:12])}</code>.</p>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.name)}"><table><thead><tr>'
        f"{''.join(heads)}</tr></thead><tbody>\n{''.join(rows)}</tbody></table></div></section>\n"
    )


def _head(name: str, kind: str, *, more: bool = False) -> str:
    shown = ' class="more"' if more else ""
    return f'<th scope="col" data-kind="{kind}"{shown}><button type="button">{escape(name)}</button></th>'


def _cell(cell: Cell, tag: str, *, more: bool = False) -> str:
    value, markup = cell
    kind = ' scope="row"' if tag == "th" else ' class="more"' if more else ""
    return f'<{tag}{kind} data-value="{escape(value)}">{markup}</{tag}>'


def _model(row: Row, table: Standing) -> Cell:
    kind = ' class="counting"' if is_baseline(row.label) else ""
    text = f"<span{kind}>{escape(row.label)}</span>"
    if row.below:
        text += f'<br><span class="flag">below {escape(", ".join(row.below))} in {escape(table.metrics[0])}</span>'
    return row.label, text


def _metric(row: Row, name: str, scale: tuple[float, float] | None) -> Cell:
    found = row.metrics.get(name)
    if found is None or math.isnan(found.value):
        return "", "–"
    text = number(found.value)
    if name in row.spread:
        text += f" ± {number(row.spread[name])}"
    if found.low is not None and found.high is not None and scale is not None:
        text += f'<br><span class="range">[{number(found.low)}, {number(found.high)}]</span>{_drawn(found, scale)}'
    return repr(found.value), text


def _drawn(found: Interval, scale: tuple[float, float]) -> str:
    """The interval as a line and the value as a dot, on the scale of the column."""
    low, high = scale
    reach = (_WIDTH - 2 * _MARGIN) / ((high - low) or 1.0)
    ends = (found.low, found.value, found.high)
    left, dot, right = (f"{_MARGIN + ((x or 0.0) - low) * reach:.1f}" for x in ends)
    middle = _HEIGHT // 2
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" aria-hidden="true">'
        f'<line x1="{left}" x2="{right}" y1="{middle}" y2="{middle}" stroke-width="2"/>'
        f'<circle cx="{dot}" cy="{middle}" r="2"/></svg>'
    )


def _scale(column: list[Interval]) -> tuple[float, float] | None:
    ends = [x for one in column for x in (one.low, one.value, one.high) if x is not None and math.isfinite(x)]
    return (min(ends), max(ends)) if ends else None


_FACTS = ("seeds", "trials", "budget", "training s", "peak memory", "parameters", "commit", "hardware", "date")
_TEXTS = ("budget", "commit", "hardware", "date")


def _facts(row: Row) -> list[Cell]:
    seeds, memory, parameters = row.seeds, row.peak_memory_bytes, row.num_parameters
    spent = budget(row)
    return [
        (str(len(seeds)), f"{len(seeds)}<br><span class='range'>{', '.join(map(str, seeds))}</span>"),
        (str(row.trials), str(row.trials)),
        ("" if spent == "–" else spent, "<br>".join(map(escape, spent.split(", ")))),
        ("", "–") if row.training_s is None else (repr(row.training_s), f"{row.training_s:,.0f}"),
        ("", "–") if memory is None else (str(memory), escape(human_bytes(memory))),
        ("", "–") if parameters is None else (str(parameters), f"{parameters:,}"),
        (", ".join(map(_short, row.commits)), "<br>".join(map(_commit, row.commits))),
        ("; ".join(row.hardware), "<br>".join(map(escape, row.hardware))),
        (row.date, escape(row.date)),
    ]


def _short(commit: str) -> str:
    if commit == UNKNOWN_COMMIT:
        return commit
    return commit[:9] + ("-dirty" if commit.endswith("-dirty") else "")


def _commit(commit: str) -> str:
    text = escape(_short(commit))
    return f'<span class="flag">{text}</span>' if commit == UNKNOWN_COMMIT else text
