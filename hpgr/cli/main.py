"""The command ``hpgr``: its list of commands."""

from __future__ import annotations

import typer

from hpgr import __version__
from hpgr.cli.demo import demo
from hpgr.cli.doctor import doctor
from hpgr.cli.door import Door
from hpgr.cli.evaluate import evaluate
from hpgr.cli.export import export
from hpgr.cli.leaderboard import leaderboard
from hpgr.cli.models import models
from hpgr.cli.prepare import prepare
from hpgr.cli.recipes import recipes
from hpgr.cli.recommend import recommend
from hpgr.cli.report import report
from hpgr.cli.serve import serve
from hpgr.cli.simulate import simulate
from hpgr.cli.study import study
from hpgr.cli.train import train

COMMANDS = (
    demo,
    simulate,
    doctor,
    prepare,
    train,
    evaluate,
    recommend,
    serve,
    export,
    models,
    recipes,
    study,
    report,
    leaderboard,
)

app = typer.Typer(
    name="hpgr",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="From an event log to evaluated, explained recommendations, with sessions as first-class data.",
    epilog="Begin with: hpgr demo. Exit codes: 0 fine, 1 the data or the run failed, 2 wrong usage.",
)


def _version(asked: bool) -> None:
    if asked:
        print(f"hpgr {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say it.")) -> None:
    pass


for _command in COMMANDS:
    app.command(cls=Door)(_command)


def main() -> None:
    """The entry point of the console script."""
    app()
