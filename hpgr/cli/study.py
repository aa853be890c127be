"""``hpgr study``: models × data × seeds under one tuning budget."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, remark, show


def study(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="Has one function that returns a Study.")],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="For stores, trials, cards; a broken-off study goes on there."),
    ] = Path("studies"),
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", envvar="HPGR_DATA", help="Holds the data sets, a folder each."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Run this model, or on this data set, only; repeatable."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATH=VALUE", help="An option of every run, as stages.rank.epochs=2; repeatable."
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, metavar="N", help="Processes, a model's trials or a seed each.")
    ] = 1,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run a study: tune every model by the same number of trials on validation, then train the best setting with each seed.

    The test part is asked once for each seed. Finished trials and cards are kept: the same command goes on where it was.

    Example: hpgr study examples/study.py --out studies/example
    """
    from hpgr.api.study import Bench, study_of
    from hpgr.api.studying import run_study
    from hpgr.cli.leaderboard import standing_table
    from hpgr.evaluation.card_files import found_cards
    from hpgr.evaluation.factor_differences import said, variant_differences, write_differences
    from hpgr.evaluation.factor_plots import write_factor_plots
    from hpgr.evaluation.leaderboard import write_leaderboard
    from hpgr.evaluation.results_tables import write_markdown
    from hpgr.evaluation.standings import standings

    found = study_of(file)
    asked = replace(found, changes=(*found.changes, *(changes or ())))
    bench = Bench(out=out, data=data, say=remark, progress=True)
    run_study(asked, bench, only=only or (), workers=workers, file=file)
    tables = standings(found_cards([out]))
    write_leaderboard(tables, out, title=asked.summary)
    write_markdown(tables, out / "tables.md")
    plots = write_factor_plots(tables, asked.factors, out / "factors")
    differences = variant_differences(tables, asked.factors)
    if differences:
        write_differences(differences, out / "differences.md")
    if json:
        named = [{"name": t.name, "models": [row.label for row in t.rows]} for t in tables]
        told = [
            {"table": d.table, "factor": d.factor, "variant": d.variant, "base": d.base}
            | {
                found.metric: {"value": i.value, "low": i.low, "high": i.high}
                | {name: getattr(found, name) for name in ("p_value", "p_holm", "detectable")}
                for found in d.found
                for i in [found.interval]
            }
            for d in differences
        ]
        emit({"out": out, "tables": named, "plots": plots, "differences": told})
    else:
        drawn = [f"Plots, one a factor, stand in {out / 'factors'}."] if plots else []
        drawn += [f"{one.table}, {one.variant} minus {one.base}: {said(one)}" for one in differences]
        show(*map(standing_table, tables), f"Cards, tables.md, index.html and leaderboard.json stand in {out}.", *drawn)
