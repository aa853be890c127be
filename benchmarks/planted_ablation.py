"""What each part of HPGR is worth on planted data: claims 6 and 7 of the HPGR card.

    python benchmarks/planted_ablation.py [--seeds 0 1 2] [--claims preference intensity] [--out docs/results/NAME.md]

Every variant learns from the same users, is stopped by AUC on the same validation users and tested on the same others.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from hpgr.core.seeds import derive
from hpgr.data.planted import Planted, batches, planted_intensity, planted_preferences, precision_of_selection
from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.hstu import HstuEncoder
from hpgr.encoders.session import SessionEnhancement, SessionTrunk
from hpgr.evaluation.classification import auc
from hpgr.frames.ranking import RankingRecommender
from hpgr.frames.scoring import ScoringRecommender
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.head import Head
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.preference import PreferenceSelector
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.masked_item import MaskedItem
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

_USERS = {"train": 3000, "validation": 500, "test": 1500}
_MAKERS = {"preference": planted_preferences, "intensity": planted_intensity}
_TOP = 8


@dataclass(frozen=True, kw_only=True)
class Variant:
    """``pretrained``: stage 1 runs and is inherited; ``sem`` in both stages; ``selection`` None is dense."""

    name: str
    sem: bool
    pretrained: bool
    selection: PreferenceSelector.Config | None = None
    gate: Literal["additive", "multiplicative"] = "multiplicative"


def _variants(claim: str) -> tuple[Variant, ...]:
    similar = PreferenceSelector.Config(k=_TOP)
    dense = Variant(name="dense + SEM + MIM", sem=True, pretrained=True)
    if claim == "intensity":
        sparse = (replace(dense, name=f"PGSA + SEM + MIM, K {k}", selection=replace(similar, k=k)) for k in (2, 8, 32))
        return dense, *sparse
    return (
        Variant(name="dense, from scratch", sem=False, pretrained=False),
        dense,
        Variant(name="PGSA, no pre-training", sem=True, pretrained=False, selection=similar),
        Variant(name="PGSA + MIM, no SEM", sem=False, pretrained=True, selection=similar),
        replace(dense, name="last-8 + SEM + MIM", selection=replace(similar, by="last")),
        replace(dense, name="additive PGSA + SEM + MIM", selection=similar, gate="additive"),
        replace(dense, name="PGSA + SEM + MIM", selection=similar),
    )


class Epochs:
    """Shuffled batches of a planted set, as the trainer takes them; histories only for the first stage."""

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


def _config(variant: Variant) -> TwoStageRecommender.Config:
    items = IdEmbedding.Config(dim=32)
    layer = TransformerLayer.Config(num_heads=2, ffn_dim=64)
    sem = SessionEnhancement.Config(layer=layer) if variant.sem else None
    return TwoStageRecommender.Config(
        retriever=ScoringRecommender.Config(
            items=items,
            trunk=SessionTrunk.Config(sem=sem),
            encoder=AttentionEncoder.Config(layer=layer, num_layers=2, causal=False),
            objective=MaskedItem.Config(session_mask_prob=0.0, last_prob=0.0),
        ),
        ranker=RankingRecommender.Config(
            items=items,
            trunk=SessionTrunk.Config(sem=sem and replace(sem, causal=True)),
            encoder=HstuEncoder.Config(
                layer=HstuLayer.Config(num_heads=2, normaliser=128.0),
                num_layers=2,
                selection=variant.selection,
                gate=variant.gate,
            ),
            head=Head.Config(),
            num_actions=2,
        ),
        inherit=("items=items", "trunk.sem=trunk.sem") if variant.sem else ("items=items",),
    )


@torch.no_grad()
def _test_auc(ranker: RankingRecommender, planted: Planted) -> float:
    ranker.eval()
    logits = torch.cat([ranker.logits(*batch)[:, 0] for batch in batches(planted, 250, None)])
    return auc(logits.numpy(), planted.label.ravel())


@torch.no_grad()
def _precision(ranker: RankingRecommender, planted: Planted) -> float:
    history, candidates = planted.batch(np.arange(250))
    rows = PreferenceSelector(PreferenceSelector.Config(k=_TOP)).centres(
        ranker.items(candidates.item_idx),
        ranker.items(history.item_idx),
        history.user_offsets,
        candidates.offsets,
        cold_C=torch.zeros(candidates.num_candidates, dtype=torch.bool),
    )
    return precision_of_selection(rows, history, candidates, planted.category_size)


def _run_seed(claim: str, seed: int, mask_epochs: int, epochs: int, lr: float) -> Iterator[tuple[str, float, float]]:
    """``(variant, test AUC, precision of the top 8 when the second stage begins)``; the oracle first."""
    sets = {part: _MAKERS[claim](count, derive(seed, part)) for part, count in _USERS.items()}
    test = sets["test"]
    yield "oracle", auc(test.prob.ravel(), test.label.ravel()), float("nan")
    keep = Housekeeping(accelerator="cpu")
    first = StageSettings(epochs=mask_epochs, lr=4e-3, patience=None, precision="32")
    second = StageSettings(epochs=epochs, lr=lr, patience=4, precision="32", inherited_lr_ratio=0.1)
    retrievers: dict[bool, dict[str, Any]] = {}
    for variant in _variants(claim):
        torch.manual_seed(derive(seed, "weights"))
        model = _config(variant).build(num_items=test.num_items)
        retrieve, rank = model.stages()
        if variant.pretrained:
            if variant.sem not in retrievers:
                masked = Epochs(sets["train"], 64, derive(seed, "retrieve"), histories=True)
                fit_stage(retrieve, masked, settings=first, seed=seed, keep=keep)
                retrievers[variant.sem] = {n: t.clone() for n, t in model.retriever.state_dict().items()}
            model.retriever.load_state_dict(retrievers[variant.sem])
            model.inherit()
        else:
            rank = replace(rank, before=None, inherited=())
        precision = _precision(model.ranker, test)

        def validate(ranker: RankingRecommender = model.ranker) -> dict[str, float]:
            return {"auc": _test_auc(ranker, sets["validation"])}

        shown = Epochs(sets["train"], 64, derive(seed, "rank"), histories=False)
        fit_stage(rank, shown, settings=second, seed=seed, validate=validate, keep=keep)
        yield variant.name, _test_auc(model.ranker, test), precision


def _table(claim: str, seeds: list[int], rows: dict[str, list[tuple[float, float]]]) -> list[str]:
    lines = [f"## Clicks by {claim}", ""]
    lines += ["| variant | " + " | ".join(f"seed {seed}" for seed in seeds) + " | mean AUC | precision of top 8 |"]
    lines += ["|---" * (len(seeds) + 3) + "|"]
    for name, results in rows.items():
        aucs, precisions = zip(*results)
        precision = "" if np.isnan(precisions).any() else f"{np.mean(precisions):.2f}"
        cells = " | ".join(f"{value:.3f}" for value in aucs)
        lines.append(f"| {name} | {cells} | **{np.mean(aucs):.3f}** | {precision} |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--claims", nargs="+", choices=list(_MAKERS), default=list(_MAKERS))
    parser.add_argument("--mask-epochs", type=int, default=9)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--out", type=Path, help="write the tables to this Markdown file too")
    asked = parser.parse_args()
    begun = time.monotonic()
    lines = ["# Planted ablation", ""]
    for claim in asked.claims:
        rows: dict[str, list[tuple[float, float]]] = {}
        for seed in asked.seeds:
            for name, value, precision in _run_seed(claim, seed, asked.mask_epochs, asked.epochs, asked.lr):
                rows.setdefault(name, []).append((value, precision))
                print(f"{claim} seed {seed}: {name}: AUC {value:.3f}, precision {precision:.2f}", flush=True)
        lines += _table(claim, asked.seeds, rows)
    users = ", ".join(f"{count} {part}" for part, count in _USERS.items())
    lines.append(
        f"{users} users, 128 events and 4 candidates each; batches of 64 users; at most {asked.mask_epochs} epochs of "
        f"stage 1 (lr 0.004) and {asked.epochs} of stage 2 (lr {asked.lr:g}, inherited parts x 0.1), stopped by "
        f"validation AUC. float32 on {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}; {(time.monotonic() - begun) / 60:.0f} minutes."
    )
    print("\n".join(lines))
    if asked.out:
        asked.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
