"""``hpgr train``: from a store to a bundle, stage by stage, resumable."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, remark, show, table
from hpgr.core.errors import DataError

if TYPE_CHECKING:
    from hpgr.api.recommender import Recommender
    from hpgr.data.store import SequenceStore
    from hpgr.training.stages import StageResult

_LOG = "train.jsonl"


def train(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="What hpgr prepare wrote.")],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="One of hpgr models.")],
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="Folder to write.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="An option, as stages.rank.lr=0.002; repeatable."),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="time|last-session|leave-one-out", help="What is held out of training.")
    ] = "time",
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Of first weights, batches and masks.")] = 1,
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
    from hpgr.frames.bundle import num_parameters

    rule = split_rule(split)
    folder = training_folder(out, resume=resume, overwrite=overwrite)
    recommender = Recommender(model, split=rule, seed=seed, changes=changes or ())
    fit_and_save(recommender, SequenceStore.open(store), out, folder, resume=resume, overwrite=overwrite)
    answer = {
        "bundle": out,
        "model": recommender.run.name,
        "seed": recommender.run.seed,
        "parameters": num_parameters(recommender.frame),
        "stages": {name: stage_facts(result) for name, result in recommender.stages.items()},
    }
    if json:
        emit(answer)
    else:
        show(stage_table(recommender.stages) if recommender.stages else f"{model} counts; it has no stages")
        show(f"{answer['parameters']:,} parameters", f"bundle: {out}")


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
    folder = out.with_name(out.name + ".training")
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


def stage_facts(result: StageResult) -> dict[str, Any]:
    """How a stage went, with the validation values of its best epoch."""
    at = (result.best_epoch or len(result.curve)) - 1
    values = result.curve[at] if result.curve else {}
    names = ("metric", "best_epoch", "best_value", "steps", "seconds", "stopped_early", "precision")
    return {name: getattr(result, name) for name in names} | {
        "epochs": len(result.curve),
        "validation": {name.removeprefix("valid."): v for name, v in values.items() if name.startswith("valid.")},
    }


def stage_table(stages: dict[str, StageResult]) -> Any:
    """A row a stage."""
    rows = []
    for name, result in stages.items():
        facts = stage_facts(result)
        values = "  ".join(f"{metric} {value:.4f}" for metric, value in facts["validation"].items())
        rows.append((name, facts["epochs"], facts["best_epoch"], values or None, round(facts["seconds"])))
    return table(["stage", "epochs", "best epoch", "validation at its best", "seconds"], rows)
