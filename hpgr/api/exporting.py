"""A trained model as files that run without hpgr: ONNX, or torch's own; held to the model on real histories first."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from hpgr.answering.answerer import Answerer
from hpgr.api.export_programs import Runs, To, check_installed, quiet, written
from hpgr.api.export_readme import readme
from hpgr.core.errors import ConfigError, HpgrError, UnknownNameError, UnsupportedError
from hpgr.data.asked_histories import AskedHistories
from hpgr.data.atomic_folder import new_folder
from hpgr.data.candidate_lists import Lists
from hpgr.frames.padded import PaddedEncoder, PaddedRanker, inputs_of, padded, twins
from hpgr.version import __version__

FORMAT = 1
TOLERANCE = 1e-4
"""The largest difference of a score that is exported."""
_TIE = 1e-5
_SIGNATURE = "signature.json"

Part = Literal["encoder", "ranker"]
Twin = PaddedEncoder | PaddedRanker


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """``to``: the kind of file. ``parts``: which; all there are if empty. ``num_events``: of a history, at most and by default
    what the model was trained with; the newest are read. ``num_candidates``: of a request to the ranker. The files are held
    to the model on ``num_histories`` histories: scores, and the first ``k`` items."""

    to: To = "onnx"
    parts: tuple[Part, ...] = ()
    num_events: int | None = None
    num_candidates: int = 200
    num_histories: int = 24
    k: int = 10

    def __post_init__(self) -> None:
        if self.to not in get_args(To):
            raise UnknownNameError.of("form of export", self.to, get_args(To))
        for part in self.parts:
            if part not in get_args(Part):
                raise UnknownNameError.of("part to export", part, get_args(Part))
        for name in ("num_events", "num_candidates", "num_histories", "k"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} ({value}) must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """``answerer`` reads no more events than the files do. ``asked``: the histories that they are held to."""

    model: str
    actions: tuple[str, ...]
    answerer: Answerer
    asked: AskedHistories
    how: ExportSettings


def export(
    answerer: Answerer,
    asked: AskedHistories,
    folder: Path,
    how: ExportSettings,
    *,
    model: str,
    actions: tuple[str, ...],
    overwrite: bool = False,
) -> dict[str, Any]:
    """What ``signature.json`` of the new ``folder`` says.

    Raises: UnsupportedError for a model that cannot be exported, or whose files answer otherwise than it does; then nothing
    is left. DataError if something is there and ``overwrite`` is not given.
    """
    found = twins(answerer.frame)
    missing = [part for part in how.parts if part not in found]
    if missing:
        raise UnsupportedError(f"parts ({', '.join(missing)}) must be among those of {model}: {', '.join(found)}")
    check_installed(how.to)
    source = _Source(
        model=model, actions=actions, answerer=replace(answerer, max_len=_slots(answerer, how)), asked=asked, how=how
    )
    with new_folder(folder, marker=_SIGNATURE, overwrite=overwrite) as new:
        _write_items(source, new)
        parts = {name: _one(source, name, twin, new) for name, twin in found.items() if name in (how.parts or found)}
        signature = _signature(source, parts)
        (new / _SIGNATURE).write_text(json.dumps(signature, indent=2) + "\n", encoding="utf-8")
        (new / "README.md").write_text(readme(signature), encoding="utf-8")
    return signature


def _slots(answerer: Answerer, how: ExportSettings) -> int:
    """Events that the files read: no more than the model reads."""
    most = answerer.max_len
    objective = getattr(getattr(answerer.frame, "retriever", answerer.frame), "objective", None)
    if (own := getattr(getattr(objective, "config", None), "max_len", None)) is not None:
        # One place is the mask's.
        most = min(most, own - 1)
    if how.num_events is not None and how.num_events > most:
        raise ConfigError(f"num_events ({how.num_events}) must not exceed the {most} that the model reads")
    return how.num_events or most


def _one(source: _Source, name: str, twin: Twin, folder: Path) -> dict[str, Any]:
    """Write one part, ask the file what the model is asked, and say what it takes and gives."""
    file = folder / f"{name}.{'onnx' if source.how.to == 'onnx' else 'pt2'}"
    inputs, output = inputs_of(twin), "vector" if name == "encoder" else "logits"
    asks = _Asks(source, twin, {} if name == "ranker" else _items(source.answerer))
    example = asks.tensors(0)
    try:
        with quiet(), torch.no_grad():
            program = torch.export.export(twin, example, strict=False)
            run = written(program, file, [one.name for one in inputs], output, source.how.to)
            shape = list(run(example).shape)
            worst, unlike = asks.differences(run)
    except (RuntimeError, IndexError, HpgrError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UnsupportedError(
            f"{name} of {source.model} (whose computation depends on more than shapes: {first}) cannot be exported, "
            "its bundle can be served by hpgr serve; nothing was left"
        ) from error
    if worst > TOLERANCE or unlike or not np.isfinite(worst):
        raise UnsupportedError(
            f"{name} of {source.model} (scores of the file differ by up to {worst:.1e}, first {source.how.k} items on {unlike} "
            f"of {len(source.asked.users)} histories) must agree with the model within {TOLERANCE} to be exported; nothing was left"
        )
    return {
        "file": file.name,
        "inputs": [
            {"name": one.name, "dtype": _dtype(tensor), "shape": list(tensor.shape), "means": one.means}
            for one, tensor in zip(inputs, example)
        ],
        "outputs": [{"name": output, "dtype": "float32", "shape": shape}],
        "checked": {"histories": len(source.asked.users), "k": source.how.k, "largest_difference": worst},
    }


@dataclass(frozen=True, slots=True)
class _Asks:
    """The questions that a file is held to; ``items`` of an encoder are what its vectors are held against."""

    source: _Source
    twin: Twin
    items: dict[str, Tensor]

    def tensors(self, row: int) -> tuple[Tensor, ...]:
        """What the file is asked of the history ``row``."""
        answerer, slots = self.source.answerer, self.source.answerer.max_len
        if isinstance(self.twin, PaddedEncoder):
            return padded(answerer.history(self.source.asked, np.array([row])), slots)
        history, candidates = answerer.batch(self.source.asked, self._lists(row))
        given = (candidates.item_idx, candidates.features)[: 1 + bool(answerer.features)]
        return (*padded(history, slots), *given)

    def differences(self, run: Runs) -> tuple[float, int]:
        """The largest difference of a score, and how many histories get other first items."""
        worst, unlike, k = 0.0, 0, self.source.how.k
        for row in range(len(self.source.asked.users)):
            got, want = self._told(run(self.tensors(row)), row), self._wanted(row)
            worst = max(worst, float((got - want).abs().max()))
            best = want.topk(min(k, len(want))).values
            mine = want[got.topk(len(best)).indices]
            unlike += not torch.allclose(mine, best, rtol=_TIE, atol=_TIE)
        return worst, unlike

    def _told(self, out: Tensor, row: int) -> Tensor:
        if isinstance(self.twin, PaddedRanker):
            return out[:, 0]
        if self.source.asked.start[row] == self.source.asked.stop[row]:
            return self.items["popularity"]
        return self.items["vectors"] @ out + self.items["bias"]

    def _wanted(self, row: int) -> Tensor:
        answerer, asked = self.source.answerer, self.source.asked
        if isinstance(self.twin, PaddedRanker):
            logits_CK: Tensor = answerer.frame.logits(*answerer.batch(asked, self._lists(row)))
            return logits_CK[:, 0]
        return answerer.scores(asked, np.array([row]))[0]

    def _lists(self, row: int) -> Lists:
        """As many candidates as the file takes, spread over the catalogue, over again where it is smaller."""
        rows = self.source.answerer.catalogue.store_rows()
        rows = rows[rows >= 0]
        step = max(1, len(rows) // self.source.how.num_candidates)
        at, asked = np.array([row]), self.source.asked
        items = np.resize(np.roll(rows, -row)[::step], self.source.how.num_candidates)
        return Lists(
            start=asked.start[at],
            stop=asked.stop[at],
            now_ms=asked.now_ms[at],
            item_rows=items,
            offsets=np.array([0, len(items)], dtype=np.int64),
        )


def _items(answerer: Answerer) -> dict[str, Tensor]:
    """``vectors [V, D]``, ``bias [V]`` and ``popularity [V]``, what who has no history is scored with."""
    frame = getattr(answerer.frame, "retriever", answerer.frame)
    vectors_VD, bias_V = frame.catalogue_vectors()
    bias_V = torch.zeros(vectors_VD.shape[0]) if bias_V is None else bias_V
    found = {"vectors": vectors_VD, "bias": bias_V, "popularity": frame.prior.log_share_V}
    return {name: tensor.detach().float().contiguous().clone() for name, tensor in found.items()}


def _write_items(source: _Source, folder: Path) -> None:
    source.answerer.catalogue.items.save(folder / "items.parquet")
    if hasattr(source.answerer.frame, "catalogue_vectors"):
        save_file(_items(source.answerer), folder / "items.safetensors")


def _signature(source: _Source, parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "hpgr": __version__,
        "model": source.model,
        "to": source.how.to,
        "num_items": len(source.answerer.catalogue),
        "num_events": source.answerer.max_len,
        "actions": list(source.actions),
        "features": list(source.answerer.features) if "ranker" in parts else [],
        "parts": parts,
    }


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
