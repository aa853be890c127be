"""Measure a frame on one part of its material and write it down: result cards for retrieving and for ranking."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from hpgr.api.asking import Ranked, device_of, rank, retrieve
from hpgr.api.material import Material, Part
from hpgr.api.slicing import ranking_slices, retrieval_slices
from hpgr.core.config import to_tree
from hpgr.core.errors import ConfigError, DataError, UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.data.ranges import flat_index, offsets_from
from hpgr.evaluation import provenance
from hpgr.evaluation.beyond_accuracy import catalogue_facts, list_facts
from hpgr.evaluation.calibration import calibration
from hpgr.evaluation.card import CertificateFacts, Protocol, ResultCard
from hpgr.evaluation.classification import grouped_auc, list_ranks, log_loss, normalised_entropy
from hpgr.evaluation.headlines import EVALUATION, FIT
from hpgr.evaluation.intervals import Interval, bootstrap_means
from hpgr.evaluation.metrics import per_query, per_user
from hpgr.evaluation.pooled import pooled_auc
from hpgr.evaluation.slices import Slice
from hpgr.frames.bundle import num_parameters
from hpgr.frames.ranking import features_of
from hpgr.training.run import Run
from hpgr.training.stages import StageResult

RETRIEVAL_METRICS = (
    *("HitRate@10", "NDCG@10", "MRR@10", "Recall@10"),
    *(f"{name}@{k}" for k in (5, 20, 50) for name in ("HitRate", "NDCG")),
)
LIST_METRICS = ("NDCG@5", "NDCG@10", "MRR@10")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """What is measured. ``question`` None: both, where the frame answers both. ``limit``: questions asked at most, spread evenly."""

    part: Part = "test"
    question: Literal["retrieve", "rank"] | None = None
    exclude_seen: bool = False
    metrics: tuple[str, ...] = RETRIEVAL_METRICS
    top: int = 10
    limit: int | None = None
    memory_mb: float = 256.0

    def __post_init__(self) -> None:
        if self.part not in ("test", "validation"):
            raise ConfigError(f"part ({self.part}) must be test or validation")
        if self.question not in (None, "retrieve", "rank"):
            raise ConfigError(f"question ({self.question}) must be retrieve, rank or None")
        if isinstance(self.metrics, str):
            raise ConfigError(f"metrics ({self.metrics!r}) must be a tuple of names")
        for name, least in (("top", 1), ("limit", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} ({value}) must be at least {least}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is measured: a frame, the name it goes by, the run it comes from and how its stages went."""

    name: str
    frame: Any
    run: Run
    stages: dict[str, StageResult]


def evaluate(subject: Subject, material: Material, how: Measure = Measure()) -> dict[str, ResultCard]:
    """A card for each question that the frame answers, by question.

    A frame that only scores the catalogue is asked to rank too, where the log tells what was shown.

    Raises: DataError if the part holds nothing to ask; UnsupportedError for retrieval by a frame that ranks only.
    """
    if how.question == "retrieve" and not hasattr(subject.frame, "scores"):
        raise UnsupportedError(
            f"question (retrieve) must be rank for {subject.name}, which ranks given candidates only"
        )
    cards = {}
    shown = len(material.split.test_requests if how.part == "test" else material.split.validation_requests) > 0
    if how.question in (None, "retrieve") and hasattr(subject.frame, "scores"):
        cards["retrieve"] = retrieval_card(subject, material, how)
    if how.question == "rank" or (how.question is None and (hasattr(subject.frame, "logits") or shown)):
        cards["rank"] = ranking_card(subject, material, how)
    return cards


def retrieval_card(subject: Subject, material: Material, how: Measure) -> ResultCard:
    """Exact ranks among the whole catalogue; the unit is the user."""
    began = time.perf_counter()
    queries = material.queries(how.part, how.limit)
    if not len(queries):
        raise DataError(f"{how.part} part (0 targets) must hold at least one; move the split's borders")
    found = retrieve(
        subject.frame.eval(),
        material,
        queries,
        max_len=subject.run.windows.max_len,
        exclude_seen=how.exclude_seen,
        top=how.top,
        memory_mb=how.memory_mb,
    )
    counts = material.split.catalogue.train_count
    users = material.store.users.at(queries.user_idx)
    values = per_query(found.counts, how.metrics)
    lists = list_facts(found.top_QK, counts, history=material.seen(queries), categories=_categories(material))
    frame = per_user(users, values | lists)
    facts = catalogue_facts(found.top_QK, len(counts)) | {
        "targets outside the catalogue": float(found.counts.missed.mean())
    }
    return _card(
        subject,
        material,
        protocol=Protocol(
            candidates=f"full catalogue ({len(counts)} items)",
            seen="left out" if how.exclude_seen else "kept",
            targets=_asked_part(how, material),
        ),
        metrics=bootstrap_means(_known(frame)) | {name: Interval(value=value) for name, value in facts.items()},
        per_user=frame,
        slices=retrieval_slices(users.to_numpy(), queries, found.counts, material, values),
        seconds=time.perf_counter() - began,
    )


def ranking_card(subject: Subject, material: Material, how: Measure) -> ResultCard:
    """AUC, GAUC, ranks inside lists, log loss and calibration of labelled candidates; the unit is the user.

    Where candidates are sampled the card puts the sampler into every name.
    """
    began = time.perf_counter()
    batches = material.ranked_batches(how.part, subject.run, features_of(subject.frame), how.limit)
    found = rank(subject.frame.eval(), batches)
    user_rows = _users_of(found, material, batches.name, how)
    users = material.store.users.at(user_rows)
    inside = grouped_auc(found.score, found.label, found.request)
    frame = _per_user_ranking(found, user_rows, material)
    metrics = {"AUC": pooled_auc(found.score, found.label, user_rows)} | bootstrap_means(_known(frame))
    chart = None
    if found.is_logit:
        prob = 1 / (1 + np.exp(-found.score))
        chart = calibration(prob, found.label)
        single = {
            "log loss": log_loss(prob, found.label),
            "normalised entropy": normalised_entropy(prob, found.label),
            "calibration error": chart.error,
            "calibration ratio": chart.ratio,
        }
        metrics |= {name: Interval(value=value) for name, value in single.items()}
    return _card(
        subject,
        material,
        protocol=Protocol(
            candidates=f"{batches.name}, {len(found.label)} candidates",
            seen="kept",
            targets=f"{_asked_part(how, material)}; {inside.num_skipped} lists of one outcome are in AUC and GAUC only",
        ),
        metrics=metrics,
        per_user=frame,
        slices=ranking_slices(found, users, material),
        calibration=chart,
        seconds=time.perf_counter() - began,
    )


def _per_user_ranking(found: Ranked, user_rows: np.ndarray, material: Material) -> pl.DataFrame:
    """``GAUC`` inside each user; AUC and ranks inside each list, as means over a user's lists."""
    users = material.store.users.at(user_rows)
    whole = grouped_auc(found.score, found.label, user_rows)
    inside = grouped_auc(found.score, found.label, found.request)
    lists = list_ranks(found.score, found.label, found.request)
    groups, first = np.unique(found.request, return_index=True)
    values = {name: np.full(len(groups), np.nan) for name in ("AUC in lists", *LIST_METRICS)}
    values["AUC in lists"][np.searchsorted(groups, inside.groups)] = inside.values
    for name, column in per_query(lists.counts, LIST_METRICS).items():
        values[name][np.searchsorted(groups, lists.groups)] = column
    frame = per_user(users.gather(first), values)
    gauc = pl.DataFrame([material.store.users.at(whole.groups).rename("user_id"), pl.Series("GAUC", whole.values)])
    return frame.join(gauc, on="user_id", how="left").select("user_id", "num_queries", "GAUC", *values)


def _users_of(found: Ranked, material: Material, candidates: str, how: Measure) -> np.ndarray:
    if candidates == "exposed":
        return material.users_of_requests(found.request)
    return material.queries(how.part, how.limit).user_idx[found.request]


def _asked_part(how: Measure, material: Material) -> str:
    some = "" if how.limit is None else f", {how.limit} spread evenly"
    return f"{how.part} part{some}; {material.split.certificate.facts['rule']}"


def _known(frame: pl.DataFrame) -> pl.DataFrame:
    """Without metrics that no user has."""
    return frame.select(name for name in frame.columns if frame[name].null_count() < len(frame))


def _categories(material: Material) -> Jagged | None:
    listed = material.clock.categories
    if listed is None:
        return None
    rows = material.split.catalogue.store_rows()
    start, stop = listed.bounds(rows)
    values = np.asarray(listed.values)[flat_index(start, stop)]
    return Jagged(torch.from_numpy(values), torch.from_numpy(offsets_from(stop - start)))


def _card(
    subject: Subject,
    material: Material,
    *,
    protocol: Protocol,
    metrics: dict[str, Interval],
    per_user: pl.DataFrame,
    slices: Sequence[Slice],
    seconds: float,
    calibration: Any = None,
) -> ResultCard:
    store, certificate = material.store, material.split.certificate
    last_epoch = {name: (result.curve[-1] if result.curve else {}) for name, result in subject.stages.items()}
    return ResultCard(
        model=subject.name,
        config=to_tree(subject.run),
        certificate=CertificateFacts(hash=certificate.hash, facts=certificate.facts),
        protocol=protocol,
        data={"name": store.path.name} | store.manifest["counts"],
        metrics=metrics,
        seeds=(subject.run.seed,),
        slices=tuple(slices),
        calibration=calibration,
        learning_curves={name: list(result.curve) for name, result in subject.stages.items() if name != FIT},
        monitors={f"{stage} {key}": value for stage, row in last_epoch.items() for key, value in row.items()},
        wall_time_s={name: r.seconds for name, r in subject.stages.items()} | {EVALUATION: seconds},
        num_parameters=num_parameters(subject.frame),
        hardware=provenance.hardware(device_of(subject.frame)),
        peak_memory_bytes=provenance.peak_memory_bytes(),
        per_user=per_user,
    )
