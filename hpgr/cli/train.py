"""``hpgr train``: from a store to a bundle, stage by stage, resumable."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, remark, show
from hpgr.cli.stages import stage_facts, stage_table
from hpgr.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from hpgr.api.recommender import Recommender
    from hpgr.data.split_rules import SplitRule
    from hpgr.data.store import SequenceStore
    from hpgr.training.run import Run

_LOG = "train.jsonl"


def train(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="What hpgr prepare wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="Folder to write.")],
    model: Annotated[str | None, typer.Option("--model", metavar="NAME", help="One of hpgr models.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME[:ENTRY]", help="Instead of --model: the run of one of hpgr recipes."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="An option, as stages.rank.lr=0.002; repeatable."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            metavar="time|last-session|leave-one-out",
            help="What is held out of training: by time, or as the recipe does.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, metavar="N", help="Of first weights, batches and masks: 1.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a stopped training left off.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bundle or a stopped training.")] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model on a store and write a bundle.

    Checkpoints and log go to BUNDLE.training until the bundle is written; then the log moves into it as train.jsonl.
    Ctrl-C finishes the step and keeps a checkpoint: the same command with --resume goes on to the same weights.

    Example: hpgr train store --model hpgr --out bundle --seed 2
    """
    from hpgr.api.recommender import Recommender
    from hpgr.api.runs import split_rule
    from hpgr.data.store import SequenceStore
    from hpgr.evaluation.headlines import FIT
    from hpgr.frames.bundle import num_parameters

    if (model is None) == (recipe is None):
        raise ConfigError("one of --model and --recipe must be given; hpgr models and hpgr recipes list them")
    rule = split_rule(split) if split else None
    if recipe is not None:
        recommender = Recommender(_run_of(recipe, rule, seed, changes or ()))
    else:
        assert model is not None
        recommender = Recommender(model, split=rule, seed=1 if seed is None else seed, changes=changes or ())
    folder = training_folder(out, resume=resume, overwrite=overwrite)
    fit_and_save(recommender, SequenceStore.open(store), out, folder, resume=resume, overwrite=overwrite)
    stages = {name: result for name, result in recommender.stages.items() if name != FIT}
    answer = {
        "bundle": out,
        "model": recommender.run.name,
        "seed": recommender.run.seed,
        "parameters": num_parameters(recommender.frame),
        "stages": {name: stage_facts(result) for name, result in stages.items()},
    }
    if json:
        emit(answer)
    else:
        show(stage_table(stages) if stages else f"{recommender.run.name} has no stages: it is fitted in one go")
        show(f"{answer['parameters']:,} parameters", f"bundle: {out}")


def _run_of(recipe: str, split: SplitRule | None, seed: int | None, changes: Sequence[str]) -> Run:
    """The run of a recipe's entry, its first one unless ``NAME:ENTRY`` says which."""
    from hpgr.core.errors import UnknownNameError
    from hpgr.recipes import recipes
    from hpgr.training.run import overridden

    name, _, entry = recipe.partition(":")
    runs = {run.name: run for run in recipes()[name]().entries}
    if entry and entry not in runs:
        raise UnknownNameError.of("entry", entry, list(runs))
    run = runs[entry or next(iter(runs))]
    run = replace(run, split=split or run.split, seed=run.seed if seed is None else seed)
    return overridden(run, changes)


def fit_and_save(
    recommender: Recommender, store: SequenceStore, out: Path, folder: Path, *, resume: bool, overwrite: bool
) -> None:
    """Train with checkpoints in ``folder`` and write the bundle ``out``, which gets the training's log."""
    from hpgr.training.settings import Housekeeping

    recommender.fit(store, keep=Housekeeping(folder=folder, resume=resume, progress=True))
    recommender.save(out, overwrite=overwrite)
    if (folder / _LOG).exists():
        shutil.move(folder / _LOG, out / _LOG)
    shutil.rmtree(folder, ignore_errors=True)


def training_folder(out: Path, *, resume: bool, overwrite: bool) -> Path:
    """Where checkpoints lie until ``out`` is written.

    Raises: DataError if ``out`` or a stopped training is there and nobody said what is to become of it.
    """
    folder = out.absolute()
    folder = folder.with_name(folder.name + ".training")
    if out.exists() and not overwrite:
        raise DataError(f"bundle ({out}) must not exist yet; choose another path or add --overwrite")
    if folder.exists() and not (resume or overwrite):
        raise DataError(
            f"training folder ({folder}, of a stopped training) must not exist yet; add --resume to go on, "
            "or --overwrite to begin anew"
        )
    if resume and not folder.exists():
        remark(f"nothing to resume in {folder}; training begins")
    return folder
