"""Checkpoints: one file, written whole or not at all, of tensors and plain values, so that loading runs no code."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hpgr.core.config import to_tree
from hpgr.core.errors import ConfigError, DataError
from hpgr.training.settings import StageSettings

_FORMAT = 1


def write(path: Path, content: dict[str, Any]) -> None:
    """Write ``content`` beside ``path`` and rename it, so that ``path`` is never half a checkpoint.

    Raises: DataError if the disk is full or refuses.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(content | {"format": _FORMAT}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritable("checkpoint", path, error) from None


def unwritable(what: str, path: Path, error: OSError) -> DataError:
    """The error for a file that the disk refuses."""
    return DataError(f"{what} ({path}) must be writable; {error.strerror}: free space or give another folder")


def read(path: Path) -> dict[str, Any]:
    """What ``write`` wrote, on the CPU.

    Raises: DataError if the file is damaged or of another version.
    """
    remedy = "train anew without --resume"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError):
        raise DataError(f"checkpoint ({path}) must be whole, but is damaged; {remedy}") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise DataError(f"checkpoint ({path}, format {found}) must have format {_FORMAT}; {remedy}")
    return content


def origin(
    name: str,
    module: nn.Module,
    settings: StageSettings,
    *,
    seed: int,
    steps: int,
    asked: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What two runs must share for one to go on where the other stopped; ``start`` is a hash of the first weights.

    ``asked``: by name what the batches are made of, configs or plain values.
    """
    state = module.state_dict()
    shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in state.items())
    start = hashlib.sha256()
    for tensor in state.values():
        start.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    made_of = {"config of the model": getattr(module, "config", None), **(asked or {})}
    return {
        "stage": name,
        "seed": seed,
        "batches an epoch": steps,
        "shapes of the model's tensors": f"{len(state)}, sha256 {hashlib.sha256(shapes.encode()).hexdigest()[:12]}",
        **{name: f"sha256 {_digest(value)}" for name, value in made_of.items()},
        "start": start.hexdigest(),
        **{f"stages.{name}.{option}": to_tree(value) for option, value in asdict(settings).items()},
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(to_tree(value), sort_keys=True).encode()).hexdigest()[:12]


def same_start(kept: Mapping[str, Any], ours: Mapping[str, Any], folder: Path) -> bool:
    """Whether the kept stage began with our weights; where not, its predecessor was trained anew and so must it be.

    Raises: ConfigError if it was trained with other options.
    """
    for name, value in ours.items():
        if name != "start" and kept.get(name) != value:
            raise ConfigError(
                f"{name} ({value}) must be {kept.get(name)} to resume the run in {folder}; "
                "give the same options or train anew without --resume"
            )
    return kept["start"] == ours["start"]


def cpu_copy(state: Mapping[str, Tensor], into: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """A state dictionary that later steps do not change; ``into``: an earlier one, whose memory is used again."""
    if into is None:
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
    for name, tensor in state.items():
        into[name].copy_(tensor.detach())
    return into
