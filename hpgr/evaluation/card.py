"""The result card: what was measured, on exactly what, by what, and how sure it is. One JSON file and one Parquet file.

``card.json`` holds everything but the values of single users, which stand beside it in ``per_user.parquet``.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import polars as pl

from hpgr.core.errors import ConfigError, DataError, UnsupportedError
from hpgr.evaluation import provenance
from hpgr.evaluation.calibration import Calibration, CalibrationBin
from hpgr.evaluation.intervals import Interval, metric_columns
from hpgr.evaluation.metric_names import ByMetric, marked, named, sampler_mark
from hpgr.evaluation.slices import Slice
from hpgr.evaluation.writing import write_whole

SCHEMA = 1
CARD_FILE, PER_USER_FILE = "card.json", "per_user.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateFacts:
    """The split's certificate as the card keeps it: the hash of the (user, history, target) set, and facts about it."""

    hash: str
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.hash:
            raise ConfigError("certificate hash () must not be empty; take it from the split")


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How the test asked: ``candidates`` (full catalogue, shown lists, a named sampler), what happens to ``seen``
    items, what the ``targets`` of a query are, and how ``ties`` of scores count.
    """

    candidates: str
    seen: str
    targets: str
    ties: str = "expectation over random order"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultCard:
    """One model on one split. Numbers that are not finite are stored as null.

    Among sampled candidates every metric carries the sampler in its name, ``GAUC[u20]``, whatever it was called when given;
    ``metrics["GAUC"]`` finds it.

    ``config``: the tree of ``core.config.to_tree``. ``data``: its name and counts. ``learning_curves``: for each stage
    a list of records, one a validation. ``monitors``: what training watched, by name. ``wall_time_s``: seconds of each
    part. ``per_user``: the frame of ``metrics.per_user``.
    """

    model: str
    config: Any
    certificate: CertificateFacts
    protocol: Protocol
    data: dict[str, Any]
    metrics: dict[str, Interval]
    seeds: tuple[int, ...] = ()
    slices: tuple[Slice, ...] = ()
    calibration: Calibration | None = None
    learning_curves: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    monitors: dict[str, Any] = field(default_factory=dict)
    wall_time_s: dict[str, float] = field(default_factory=dict)
    num_parameters: int | None = None
    peak_memory_bytes: int | None = None
    hardware: dict[str, Any] = field(default_factory=provenance.hardware)
    versions: dict[str, str] = field(default_factory=provenance.versions)
    commit: str | None = field(default_factory=provenance.commit)
    created: str = field(default_factory=provenance.now)
    per_user: pl.DataFrame | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        mark = sampler_mark(self.protocol.candidates)
        object.__setattr__(self, "metrics", _marked(self.metrics, mark))
        if not mark:
            return
        slices = tuple(replace(part, metrics=_marked(part.metrics, mark)) for part in self.slices)
        object.__setattr__(self, "slices", slices)
        if self.per_user is not None:
            names = {name: marked(name, mark) for name in metric_columns(self.per_user)}
            object.__setattr__(self, "per_user", self.per_user.rename(names))

    @property
    def question(self) -> str:
        """``rank`` for a card of labelled candidates, else ``retrieve``."""
        return "rank" if named("AUC", self.metrics) or named("GAUC", self.metrics) else "retrieve"

    def comparable(self, other: ResultCard) -> bool:
        """Whether both answer the same question: same certificate, same protocol."""
        return self.certificate.hash == other.certificate.hash and self.protocol == other.protocol

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values of all but ``per_user``."""
        tree = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "per_user"}
        parts = ("certificate", "protocol", "calibration")
        tree |= {name: asdict(tree[name]) for name in parts if tree[name] is not None}
        tree["metrics"] = {name: asdict(interval) for name, interval in self.metrics.items()}
        tree["slices"] = [asdict(part) for part in self.slices]
        return {"schema": SCHEMA} | _plain(tree)

    def save(self, folder: Path | str) -> None:
        """Write ``card.json``, and ``per_user.parquet`` where there are such values; each file whole or not at all."""
        tree, folder = self.to_json(), Path(folder)
        if self.per_user is not None:
            buffer = io.BytesIO()
            self.per_user.write_parquet(buffer)
            write_whole(folder / PER_USER_FILE, buffer.getvalue())
            tree["per_user_sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
        text = json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(folder / CARD_FILE, text.encode())

    @classmethod
    def load(cls, folder: Path | str) -> ResultCard:
        """The card in ``folder``, or in one file of any name.

        Raises: DataError for a file that is no card, or per-user values of another card; UnsupportedError for a card of
        another schema; FileNotFoundError without ``card.json``.
        """
        path = Path(folder) if Path(folder).is_file() else Path(folder) / CARD_FILE
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} must be a result card in JSON ({error}); evaluate again") from None
        found = tree.pop("schema", None) if isinstance(tree, dict) else None
        if found != SCHEMA:
            raise UnsupportedError(
                f"schema of {path} ({found}) must be {SCHEMA}; evaluate again with this version of hpgr"
            )
        per_user = _per_user(path.with_name(PER_USER_FILE), tree.pop("per_user_sha256", None))
        try:
            return cls(**_parts(tree), per_user=per_user)
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} must hold every field of a result card and no other ({error})") from None


def _parts(tree: dict[str, Any]) -> dict[str, Any]:
    """The JSON tree with its parts as the classes they were."""
    table = tree["calibration"]
    made: dict[str, Any] = {
        "certificate": CertificateFacts(**tree["certificate"]),
        "protocol": Protocol(**tree["protocol"]),
        "seeds": tuple(tree["seeds"]),
        "metrics": _intervals(tree["metrics"]),
        "slices": tuple(Slice(**(part | {"metrics": _intervals(part["metrics"])})) for part in tree["slices"]),
    }
    if table is not None:
        ratio = math.nan if table["ratio"] is None else table["ratio"]
        bins = tuple(CalibrationBin(**row) for row in table["bins"])
        made["calibration"] = Calibration(bins=bins, error=table["error"], ratio=ratio)
    return tree | made


def _marked(metrics: dict[str, Interval], mark: str) -> ByMetric[Interval]:
    return ByMetric({marked(name, mark): found for name, found in metrics.items()})


def _intervals(tree: dict[str, Any]) -> dict[str, Interval]:
    unknown = {"value": math.nan}
    return {name: Interval(**(row if row["value"] is not None else row | unknown)) for name, row in tree.items()}


def _per_user(path: Path, sha256: str | None) -> pl.DataFrame | None:
    if sha256 is None:
        return None
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise DataError(f"{path} must hold the values of single users that its card.json names; evaluate again")
    return pl.read_parquet(path)


def _plain(value: Any) -> Any:
    """Tuples as lists, NumPy numbers as numbers, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
