"""Train one stage of a frame: steps on Lightning's Trainer, early stopping, checkpoints, resume."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import torch

from hpgr.frames.stage import TrainableStage
from hpgr.training.batches import Batches, EpochBatches, Position
from hpgr.training.best import BestWeights
from hpgr.training.checkpoint import origin, read, same_start, write
from hpgr.training.keeper import CHECKPOINT, Keeper, Validate
from hpgr.training.module import StageModule
from hpgr.training.progress import ProgressBar
from hpgr.training.settings import Housekeeping, StageSettings, chosen_precision

_LOG = logging.getLogger(__name__)
_DONE = "done.pt"


@dataclass(frozen=True, kw_only=True, slots=True)
class StageResult:
    """How a stage went. ``curve``: a dictionary an epoch, as ``Keeper`` writes it; epochs count from 1.

    ``metric``, ``best_epoch`` and ``best_value`` are none without a validation. ``precision`` is what was used.
    """

    stage: str
    metric: str | None
    best_epoch: int | None
    best_value: float | None
    curve: tuple[dict[str, Any], ...]
    seconds: float
    steps: int
    stopped_early: bool
    precision: str


def fit_stage(
    stage: TrainableStage,
    batches: Batches,
    *,
    settings: StageSettings,
    seed: int,
    validate: Validate | None = None,
    keep: Housekeeping | None = None,
    asked: Mapping[str, Any] | None = None,
) -> StageResult:
    """Train ``stage.module`` and leave it with the weights of the epoch that was best on ``validate``, or of the last.

    ``validate`` is called after every epoch without gradients, with the module in eval mode on the device of training.
    With ``keep.resume`` a finished stage is loaded, and a broken-off one continues to the weights that an unbroken run
    reaches, bit by bit on a CPU with the same number of threads; a stage whose first weights are others than in the
    kept run is trained anew.

    Raises: TrainingInterrupted on Ctrl-C or termination, after a checkpoint; TrainingDiverged where the loss is not
    finite; ConfigError where a kept run had other options; DataError where there are no batches, a checkpoint is
    unreadable or the disk is full.
    """
    keep = keep or Housekeeping()
    if stage.before is not None:
        stage.before()
    position = Position()
    feed = EpochBatches(batches, position, settings.limit_batches, keep.workers)
    steps = feed.steps_of(0)
    module = StageModule(stage, settings, position, seed=seed, total_steps=settings.epochs * steps)
    if stage.each_epoch is not None:
        feed.before_epoch = module.begin_epoch
    begun = (
        {} if keep.folder is None else origin(stage.name, stage.module, settings, seed=seed, steps=steps, asked=asked)
    )
    best = BestWeights(settings.metric, None if validate is None else settings.patience, stage.warm_epochs)
    keeper = Keeper(stage.name, best, validate, keep, begun, feed)
    finished = _taken_up(keeper, module, begun, keep)
    if finished is not None:
        return finished

    precision = chosen_precision(settings.precision, keep.accelerator)
    if position.epoch < settings.epochs and not best.exhausted:
        _run(module, feed, settings, keep, keeper, precision)
    best.into(stage.module)
    result = StageResult(
        stage=stage.name,
        metric=None if validate is None else best.metric,
        best_epoch=best.epoch,
        best_value=best.value,
        curve=tuple(keeper.curve),
        seconds=keeper.seconds,
        steps=position.step,
        stopped_early=position.epoch < settings.epochs,
        precision=precision,
    )
    if keeper.folder is not None:
        write(keeper.folder / _DONE, {"origin": begun, "model": stage.module.state_dict(), "result": asdict(result)})
        (keeper.folder / CHECKPOINT).unlink(missing_ok=True)
    return result


def _taken_up(keeper: Keeper, module: StageModule, begun: dict[str, Any], keep: Housekeeping) -> StageResult | None:
    """The result of a finished stage, with its weights loaded; else none, and ``module`` stands where it left off."""
    folder = keeper.folder
    if folder is None:
        return None
    for name in (_DONE, CHECKPOINT) if keep.resume else ():
        if not (folder / name).exists():
            continue
        content = read(folder / name)
        if not same_start(content["origin"], begun, folder):
            _LOG.warning("stage %s begins with other weights than in %s; it is trained anew", begun["stage"], folder)
            break
        if name == _DONE:
            module.module.load_state_dict(content["model"])
            return StageResult(**content["result"])
        keeper.restore(content, module)
        keeper.lines.rewind(begun["stage"], module.position.step)
        return None
    (folder / _DONE).unlink(missing_ok=True)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    keeper.lines.rewind(begun["stage"], 0)
    return None


def _run(
    module: StageModule,
    feed: EpochBatches,
    settings: StageSettings,
    keep: Housekeeping,
    keeper: Keeper,
    precision: Literal["32-true", "bf16-mixed"],
) -> None:
    module.module.train()
    with quiet(), keeper.stop, ExitStack() as stack:
        callbacks: list[pl.Callback] = [keeper]
        if keep.progress:
            callbacks.append(stack.enter_context(ProgressBar(keeper.stage, settings.epochs, feed)))
        trainer = pl.Trainer(
            max_epochs=settings.epochs - module.position.epoch,
            accelerator=keep.accelerator,
            devices=1,
            precision=precision,
            gradient_clip_val=settings.clip,
            callbacks=callbacks,
            # Checkpoints, log and loggers are the keeper's: Lightning writes nothing.
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            default_root_dir=keep.folder,
        )
        try:
            trainer.fit(module, train_dataloaders=feed)
        except (KeyboardInterrupt, SystemExit):
            raise keeper.interrupted(module) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning from speaking and the caller's random state as it was."""
    spoken = logging.getLogger("lightning.pytorch")
    level = spoken.level
    spoken.setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # Lightning itself calls what torch >= 2.9 deprecates.
            warnings.filterwarnings("ignore", ".*LeafSpec.* is deprecated", FutureWarning)
            yield
    finally:
        spoken.setLevel(level)
