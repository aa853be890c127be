"""``hpgr demo``: the whole road on a simulated log, beside the score that nobody can beat."""

from __future__ import annotations

import json as json_text
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, show, table
from hpgr.core.errors import DataError

_MARK = "demo.json"
_OWN = ("log.parquet", "items.parquet", "store", "bundle", "bundle.training", "cards", "report.html", _MARK)


def demo(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder to write; a demo in it is replaced.")
    ] = Path("demo"),
    users: Annotated[int, typer.Option("--users", min=50, metavar="N", help="Users of the simulated log.")] = 1500,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, metavar="N", help="Of every stage; by default what is worth it.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Run everything on a simulated log.

    Simulates, examines and prepares a log, trains HPGR and others, evaluates, recommends and explains, in a few minutes
    on two cores and without a network. Leaves a bundle, result cards and report.html.

    Example: hpgr demo --out demo
    """
    from hpgr.cli import demo_steps as step
    from hpgr.cli.answers import answer_tree, explanation_table, recommendation_table
    from hpgr.cli.prepare import store_facts, store_lines
    from hpgr.cli.stages import stage_table

    say = _silent if json else show
    _emptied(out)
    say(f"1/5 Simulating a log of {users:,} users whose every cause is known: hpgr simulate")
    config = step.simulated(out, users)
    say("2/5 Examining and preparing it: hpgr doctor, hpgr prepare")
    findings, store = step.prepared(out)
    say(
        table(
            ["level", "code", "what was found"], [(f.level, f.code, f.message) for f in findings if f.level != "note"]
        )
    )
    say(table(["what was read", ""], store_lines(store_facts(store))))
    say("3/5 Training hpgr, then sasrec: hpgr train")
    recommender, sasrec = step.trained(out, store, epochs)
    say(stage_table(recommender.stages))
    say("4/5 Evaluating both, and the baselines that count: hpgr evaluate --baselines")
    scores = step.evaluated(out, recommender, sasrec, store, config)
    for found in scores.values():
        say(table(["model", *found.metrics], found.rows, title=found.title))
    say("Intervals are over users. The oracle knows the causes of the log: nobody can beat it.")
    say("5/5 Recommending to one user, and why: hpgr recommend --explain")
    answer = step.answered(recommender, store)
    say(recommendation_table(answer.table))
    if answer.explanations is not None:
        say(explanation_table(answer.explanations))
    paths = {name: out / name for name in _OWN if (out / name).exists()}
    trees = {question: found.tree() for question, found in scores.items()}
    (out / _MARK).write_text(json_text.dumps({"kind": "hpgr demo", "scores": trees}, indent=1) + "\n")
    say(table(["what is left", ""], paths.items()))
    say(f"See why, and what would be if: hpgr serve {out / 'bundle'} --store {out / 'store'}")
    if json:
        emit({"scores": trees, "answer": answer_tree(answer), "paths": paths})


def _silent(*parts: Any) -> None:
    pass


def _emptied(out: Path) -> None:
    """Make the folder, without the files of an earlier demo.

    Raises: DataError if it holds anything and no demo.
    """
    if out.exists() and not out.is_dir():
        raise DataError(f"out ({out}, a file) must be a folder; choose another path")
    if out.exists() and any(out.iterdir()) and not (out / _MARK).exists():
        raise DataError(f"out ({out}) must be new, empty or an earlier demo; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    for path in (out / name for name in _OWN if name != _MARK):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (out / _MARK).write_text(json_text.dumps({"kind": "hpgr demo"}) + "\n")
