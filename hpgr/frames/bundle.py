"""A trained model on disk: a folder of JSON, safetensors and Parquet, written whole or not at all, never pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import DataError
from hpgr.core.vocabulary import Vocabulary
from hpgr.version import __version__

FORMAT = 1
_CONFIG = "config.json"
_REMEDY = "train it again with: hpgr train STORE --model NAME --out BUNDLE"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """``model``: the name it was made under; ``frame``: the trained module; ``items``: the catalogue's own ids;
    ``facts``: further JSON values (certificate, session rule, training results), by name; ``folder``: where it lies."""

    model: str
    frame: Any
    items: Vocabulary
    facts: dict[str, Any]
    folder: Path | None = None


def write_bundle(
    folder: Path, bundle: Bundle, *, overwrite: bool = False, beside: Callable[[Path], None] | None = None
) -> None:
    """Write ``bundle`` to ``folder``; ``beside`` may add files to the unfinished folder before it appears.

    Raises: DataError if something is there already, or the disk is full; then nothing is left behind.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not overwrite:
        raise DataError(f"bundle ({folder}) must not exist yet; choose another path or pass overwrite")
    if folder.exists() and not (folder / _CONFIG).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(
            f"bundle ({folder}) must be empty or a bundle, to be overwritten, and has no {_CONFIG}; choose another path, or remove it"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write_files(unfinished, bundle)
        if beside is not None:
            beside(unfinished)
        _readable(unfinished)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(unfinished, folder)
    except OSError as error:
        raise DataError(
            f"bundle ({folder}) could not be written: {error.strerror or error}; nothing was left"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _readable(folder: Path) -> None:
    """As the process makes files by default; what makes temporary ones makes them for their owner alone."""
    os.umask(hidden := os.umask(0))
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~hidden)


def read_bundle(folder: Path) -> Bundle:
    """Load what ``write_bundle`` wrote, on the CPU, in evaluation mode.

    Raises: DataError where a file is missing, damaged or of another version; UnsupportedError where the config names
    code that is neither hpgr's nor imported by the caller.
    """
    folder = Path(folder)
    head = _read_json(folder, _CONFIG)
    if head.get("format") != FORMAT:
        raise DataError(f"bundle ({folder}) has format {head.get('format')}, this hpgr reads {FORMAT}; {_REMEDY}")
    for name, digest in head["sha256"].items():
        path = folder / name
        if not path.exists():
            raise DataError(f"bundle ({folder}) lacks {name}; {_REMEDY}")
        if _sha256(path) != digest:
            raise DataError(f"bundle ({folder}) has a damaged {name}; {_REMEDY}")
    items = Vocabulary.load(folder / "items.parquet")
    frame = from_tree(head["frame"]).build(num_items=len(items))
    try:
        frame.load_state_dict(load_file(folder / "model.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        raise DataError(f"bundle ({folder}) has weights that do not fit its config ({error}); {_REMEDY}") from error
    return Bundle(
        model=head["model"], frame=frame.eval(), items=items, facts=_read_json(folder, "facts.json"), folder=folder
    )


def read_facts(folder: Path) -> dict[str, Any]:
    """The ``facts`` of a bundle alone, without its model.

    Raises: DataError where they are missing or damaged.
    """
    return _read_json(Path(folder), "facts.json")


def num_parameters(frame: nn.Module) -> int:
    """Trained numbers of a model."""
    return sum(p.numel() for p in frame.parameters())


def _write_files(folder: Path, bundle: Bundle) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in bundle.frame.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    bundle.items.save(folder / "items.parquet")
    (folder / "facts.json").write_text(json.dumps(bundle.facts, indent=1, sort_keys=True))
    head = {
        "format": FORMAT,
        "hpgr": __version__,
        "model": bundle.model,
        "frame": to_tree(bundle.frame.config),
        "sha256": {name: _sha256(folder / name) for name in ("model.safetensors", "items.parquet", "facts.json")},
    }
    (folder / _CONFIG).write_text(json.dumps(head, indent=1))


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        return json.loads((folder / name).read_text())
    except FileNotFoundError:
        raise DataError(f"bundle ({folder}) must be a folder that holds {name}; {_REMEDY}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"bundle ({folder}) has a damaged {name} ({error}); {_REMEDY}") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
