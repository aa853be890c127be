"""What each part of HPGR is worth where the truth is known: claims 6 and 7 of the HPGR card.

    python benchmarks/planted.py --claim 6 --seeds 0 1 2
    python benchmarks/planted.py --claim 7 --seeds 0 1 2
    python benchmarks/planted.py --write

Every variant of a seed reads the same users with the same settings; validation users choose its epoch, test users only
judge it. A result is kept under ``--cache`` as soon as it is there, so a run that was broken off continues with the job
it was at. ``--write`` renders what is kept to ``docs/results/planted.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from hpgr.core.config import to_tree
from hpgr.core.seeds import derive
from hpgr.data.planted import (
    Planted,
    PlantedShape,
    batches,
    planted_intensity,
    planted_preferences,
    precision_of_selection,
)
from hpgr.evaluation.classification import auc
from hpgr.evaluation.provenance import commit
from hpgr.frames.ranking import RankingRecommender
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.models.hpgr import hpgr_paper
from hpgr.nn.preference import PreferenceSelector
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

MAKERS = {6: planted_preferences, 7: planted_intensity}
_READ_AT_ONCE = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How much of everything: users of each part and of a batch, width of the model, settings of both stages."""

    shape: PlantedShape = field(default_factory=PlantedShape)
    train_users: int = 3000
    validation_users: int = 1000
    test_users: int = 1500
    batch_users: int = 64
    dim: int = 32
    retrieve: StageSettings = field(default_factory=lambda: StageSettings(epochs=9, lr=4e-3, precision="32"))
    rank: StageSettings = field(default_factory=lambda: StageSettings(epochs=16, lr=1e-3, patience=5, precision="32"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One row of a table: the paper's preset with or without its parts; ``selection`` None is dense attention."""

    name: str
    sem: bool = True
    pretrained: bool = True
    mask_at: Literal["input", "fusion"] = "input"
    selection: PreferenceSelector.Config | None = None
    gate: Literal["multiplicative", "additive"] = "multiplicative"
    read_history: bool = True

    def config(self, scale: Scale) -> TwoStageRecommender.Config:
        """The model of this row."""
        paper = hpgr_paper(dim=scale.dim, num_heads=2, num_layers=2, dropout=0.0)
        retriever, ranker, inherit = replace(paper.retriever, mask_at=self.mask_at), paper.ranker, paper.inherit
        if not self.sem:
            retriever = replace(retriever, trunk=replace(retriever.trunk, sem=None))
            ranker = replace(ranker, trunk=replace(ranker.trunk, sem=None))
            inherit = ("items=items",)
        reading = replace(ranker.encoder, selection=self.selection, gate=self.gate, read_history=self.read_history)
        return replace(
            paper, retriever=retriever, ranker=replace(ranker, encoder=reading, num_actions=2), inherit=inherit
        )


def variants(claim: int) -> tuple[Variant, ...]:
    """The rows of a claim's table."""
    top = PreferenceSelector.Config(k=8)
    if claim == 7:
        rows = (Variant(name=f"PGSA + SEM + MIM, K = {k}", selection=replace(top, k=k)) for k in (2, 8, 32))
        return Variant(name="dense + SEM + MIM"), *rows
    return (
        Variant(name="no history + SEM + MIM", read_history=False),
        Variant(name="dense, from scratch", sem=False, pretrained=False),
        Variant(name="dense + MIM", sem=False),
        Variant(name="dense + SEM + MIM"),
        Variant(name="PGSA", sem=False, pretrained=False, selection=top),
        Variant(name="PGSA + SEM", pretrained=False, selection=top),
        Variant(name="PGSA + MIM", sem=False, selection=top),
        Variant(name="PGSA + SEM + MIM", selection=top),
        Variant(name="PGSA + SEM + MIM, masked after fusion", selection=top, mask_at="fusion"),
        Variant(name="additive PGSA + SEM + MIM", selection=top, gate="additive"),
        Variant(name="last 8 + SEM + MIM", selection=replace(top, by="last")),
    )


class Epochs:
    """The users of a planted set in an order that changes with the epoch; ``histories``: without their candidates."""

    def __init__(self, planted: Planted, batch_users: int, seed: int, *, histories: bool) -> None:
        self._planted, self._batch_users, self._seed, self._histories = planted, batch_users, seed, histories
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._planted.num_users // self._batch_users)

    def __iter__(self) -> Iterator[Any]:
        for history, candidates in batches(self._planted, self._batch_users, derive(self._seed, self._epoch)):
            yield history if self._histories else (history, candidates)


@torch.no_grad()
def ranked_auc(ranker: RankingRecommender, planted: Planted) -> float:
    """AUC over all candidates of all users."""
    ranker.eval()
    logits = torch.cat([ranker.logits(*batch)[:, 0] for batch in batches(planted, _READ_AT_ONCE, None)])
    return auc(logits.numpy(), planted.label.ravel())


@torch.no_grad()
def precision(ranker: RankingRecommender, planted: Planted) -> float | None:
    """Share of the selected events that are of their candidate's category; None where nothing is selected."""
    selector = ranker.encoder.selector
    if selector is None:
        return None
    ranker.eval()
    history, candidates = next(batches(planted, planted.num_users, None))
    rows_CK = selector.centres(
        ranker.items(candidates.item_idx),
        ranker.items(history.item_idx),
        history.user_offsets,
        candidates.offsets,
        cold_C=torch.zeros(candidates.num_candidates, dtype=torch.bool),
    )
    return precision_of_selection(rows_CK, history, candidates, planted.category_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Jobs of one claim and seed, with what they have in common kept under ``cache``."""

    claim: int
    seed: int
    scale: Scale
    cache: Path

    def users(self, part: Literal["train", "validation", "test"]) -> Planted:
        """The users of a part."""
        count = getattr(self.scale, f"{part}_users")
        return MAKERS[self.claim](count, derive(self.seed, part), self.scale.shape)

    def result(self, variant: Variant) -> dict[str, Any]:
        """What ``variant`` reached: kept, or worked out and kept."""
        path = self._place("result", variant.name, variant.config(self.scale)).with_suffix(".json")
        if not path.exists():
            _write(path, json.dumps(self._run(variant), indent=1))
        return json.loads(path.read_text())

    def oracle(self) -> float:
        """The AUC of the true chances of a click."""
        test = self.users("test")
        return auc(test.prob.ravel(), test.label.ravel())

    def _run(self, variant: Variant) -> dict[str, Any]:
        torch.manual_seed(derive(self.seed, "weights"))
        model = variant.config(self.scale).build(num_items=self.users("train").num_items)
        first = self._pretrain(model) if variant.pretrained else {}
        rank = model.stages()[1]
        if not variant.pretrained:
            rank = replace(rank, before=None, inherited=())
        test, validation = self.users("test"), self.users("validation")
        if rank.before is not None:
            rank.before()
        at_start = precision(model.ranker, test)
        begun = time.process_time()
        done = fit_stage(
            rank,
            Epochs(self.users("train"), self.scale.batch_users, derive(self.seed, "rank"), histories=False),
            settings=self.scale.rank,
            seed=self.seed,
            validate=lambda: {"auc": ranked_auc(model.ranker, validation)},
            keep=Housekeeping(accelerator="cpu"),
        )
        seconds = time.process_time() - begun
        return {
            "claim": self.claim,
            "seed": self.seed,
            "variant": variant.name,
            "auc": ranked_auc(model.ranker, test),
            "validation_auc": done.best_value,
            "best_epoch": done.best_epoch,
            "steps": done.steps,
            "precision_at_start": at_start,
            "precision": precision(model.ranker, test),
            "seconds": seconds,
            "first_stage": first,
            "curve": [line["valid.auc"] for line in done.curve],
            "commit": commit(),
        }

    def _pretrain(self, model: TwoStageRecommender) -> dict[str, Any]:
        """Give the retriever its trained weights; variants with the same first stage share them."""
        weights = self._place("retriever", "", model.config.retriever).with_suffix(".safetensors")
        told = weights.with_suffix(".json")
        if not told.exists():
            begun = time.process_time()
            done = fit_stage(
                model.stages()[0],
                Epochs(self.users("train"), self.scale.batch_users, derive(self.seed, "retrieve"), histories=True),
                settings=self.scale.retrieve,
                seed=self.seed,
                keep=Housekeeping(accelerator="cpu"),
            )
            save_file(model.retriever.state_dict(), weights)
            last = {name: value for name, value in done.curve[-1].items() if name in ("loss", "sem_branch_ratio")}
            _write(told, json.dumps(last | {"steps": done.steps, "seconds": time.process_time() - begun}))
        model.retriever.load_state_dict(load_file(weights))
        return json.loads(told.read_text())

    def _place(self, kind: str, name: str, config: Any) -> Path:
        """A path that only the same job has: same data, scale, model and settings."""
        scale = asdict(self.scale)
        if kind == "retriever":
            scale.pop("rank")
        whole = json.dumps([kind, name, self.claim, self.seed, scale, to_tree(config)], sort_keys=True)
        self.cache.mkdir(parents=True, exist_ok=True)
        return (
            self.cache / f"claim{self.claim}-seed{self.seed}-{kind}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
        )


def _write(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claim", type=int, choices=list(MAKERS), nargs="+", default=list(MAKERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, default=Path("build/planted"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for claim in asked.claim:
        for seed in asked.seeds:
            bench = Bench(claim=claim, seed=seed, scale=Scale(), cache=asked.cache)
            for variant in variants(claim):
                found = bench.result(variant)
                print(f"claim {claim} seed {seed}: {variant.name}: AUC {found['auc']:.3f}", flush=True)


if __name__ == "__main__":
    main()
