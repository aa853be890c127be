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
from hpgr.core.units import human_bytes
from hpgr.data.planted import (
    Planted,
    PlantedShape,
    batches,
    planted_intensity,
    planted_preferences,
    precision_of_selection,
)
from hpgr.encoders.attention import AttentionEncoder
from hpgr.encoders.hstu import HstuEncoder
from hpgr.encoders.session import SessionEnhancement, SessionTrunk
from hpgr.evaluation.classification import auc
from hpgr.evaluation.provenance import commit, hardware, peak_memory_bytes, versions
from hpgr.evaluation.writing import write_whole
from hpgr.frames.ranking import RankingRecommender
from hpgr.frames.scoring import ScoringRecommender
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.items.id_embedding import IdEmbedding
from hpgr.nn.head import Head
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.preference import PreferenceSelector
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.objectives.masked_item import MaskedItem
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

MAKERS = {6: planted_preferences, 7: planted_intensity}
_HOME = Path(__file__).resolve().parents[1]
_PAGE = _HOME / "docs" / "results" / "planted.md"
_BEGIN, _END = "<!-- measured -->", "<!-- end of measured -->"
_READ_AT_ONCE = 250


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How much of everything: users of each part and of a batch, width of the model, settings of both stages."""

    shape: PlantedShape = field(default_factory=PlantedShape)
    train_users: int = 3000
    validation_users: int = 500
    test_users: int = 1500
    batch_users: int = 32
    dim: int = 32
    retrieve: StageSettings = field(default_factory=lambda: StageSettings(epochs=5, lr=4e-3, precision="32"))
    rank: StageSettings = field(default_factory=lambda: StageSettings(epochs=12, lr=3e-3, patience=4, precision="32"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One row of a table: the two stages of HPGR with or without its parts; ``selection`` None is dense attention.

    ``patient``: the ranker may train twice as long as in other rows, for what learns slowly.
    """

    name: str
    sem: bool = True
    pretrained: bool = True
    mask_at: Literal["input", "fusion"] = "input"
    selection: PreferenceSelector.Config | None = None
    gate: Literal["multiplicative", "additive"] = "multiplicative"
    read_history: bool = True
    patient: bool = False

    def config(self, scale: Scale) -> TwoStageRecommender.Config:
        """The model of this row; times say nothing on this data, so places are ranks only."""
        items = IdEmbedding.Config(dim=scale.dim, scale=True)
        place = TimeAwarePosition.Config(num_positions=128, num_time_buckets=None)
        layer = TransformerLayer.Config(num_heads=2, ffn_dim=2 * scale.dim)
        sem = SessionEnhancement.Config(layer=layer, position=place) if self.sem else None
        retriever = ScoringRecommender.Config(
            items=items,
            trunk=SessionTrunk.Config(position=place, sem=sem),
            encoder=AttentionEncoder.Config(layer=layer, num_layers=2, causal=False, init_std=0.02),
            objective=MaskedItem.Config(mask_prob=0.2, session_mask_prob=0.0, last_prob=0.0),
            mask_at=self.mask_at,
        )
        reading = HstuEncoder.Config(
            layer=HstuLayer.Config(num_heads=2, normaliser=128.0, init_std=0.02),
            num_layers=2,
            selection=self.selection,
            gate=self.gate,
            read_history=self.read_history,
        )
        ranker = RankingRecommender.Config(
            items=items,
            trunk=SessionTrunk.Config(position=place, sem=sem and replace(sem, causal=True)),
            encoder=reading,
            head=Head.Config(),
            num_actions=2,
        )
        inherit = ("items=items", "trunk.sem=trunk.sem") if self.sem else ("items=items",)
        return TwoStageRecommender.Config(retriever=retriever, ranker=ranker, inherit=inherit)


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
        Variant(name="dense + SEM + MIM, twice as long", patient=True),
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
        rank = self.scale.rank
        if variant.patient and rank.patience:
            longer = replace(rank, epochs=2 * rank.epochs, patience=2 * rank.patience)
            return replace(self, scale=replace(self.scale, rank=longer)).result(replace(variant, patient=False))
        path = self._kept_at(variant)
        if not path.exists():
            write_whole(path, json.dumps(self._run(variant), indent=1).encode())
        return json.loads(path.read_text())

    def kept(self, variant: Variant) -> bool:
        """Whether the result of ``variant`` is there already."""
        return not variant.patient and self._kept_at(variant).exists()

    def _kept_at(self, variant: Variant) -> Path:
        return self._place("result", variant.name, variant.config(self.scale)).with_suffix(".json")

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
            "peak_memory_bytes": peak_memory_bytes(),
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
            told_of = last | {"steps": done.steps, "seconds": time.process_time() - begun}
            write_whole(told, json.dumps(told_of).encode())
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


class Table:
    """The results of a claim: ``found`` has, for each variant in order, its result of every seed."""

    def __init__(self, claim: int, found: dict[str, list[dict[str, Any]]], oracle: list[float]) -> None:
        self.claim, self.found, self.oracle = claim, found, oracle

    def markdown(self) -> str:
        """The table, what separates its rows, and what the first stages reached."""
        seeds = sorted({result["seed"] for results in self.found.values() for result in results})
        head = ["variant", "mean AUC", *(f"seed {seed}" for seed in seeds), "right category", "best epoch", "CPU s"]
        rows = [["oracle", *_scores(self.oracle, len(seeds)), "", "", ""]]
        rows += [[name, *_scores(self._column(name, "auc"), len(seeds)), *self._facts(name)] for name in self.found]
        lines = [f"## Claim {self.claim}", "", *_table(head, rows), "", *self._differences(), ""]
        first = ["first stage of", "masked-item loss, nats", "session branch / token", "CPU s"]
        return "\n".join([*lines, *_table(first, self._first_stages()), ""])

    def _column(self, name: str, value: str) -> list[float]:
        return [result[value] for result in self.found[name]]

    def _facts(self, name: str) -> list[str]:
        before, after = self._column(name, "precision_at_start"), self._column(name, "precision")
        chosen = "" if before[0] is None else f"{_mean(before):.2f} → {_mean(after):.2f}"
        epochs = ", ".join(str(epoch) for epoch in self._column(name, "best_epoch"))
        return [chosen, epochs, f"{_mean(self._column(name, 'seconds')):.0f}"]

    def _differences(self) -> list[str]:
        similar = [name for name in self.found if name.startswith("PGSA + SEM + MIM") and "fusion" not in name]
        others = [name for name in self.found if "PGSA" not in name]
        best = max(others, key=lambda name: _mean(self._column(name, "auc")))
        lines = []
        for name in similar:
            for other in dict.fromkeys(("dense + SEM + MIM", best)):
                pairs = zip(self._column(name, "auc"), self._column(other, "auc"))
                gaps = [ours - theirs for ours, theirs in pairs]
                seeds = ", ".join(f"{gap:+.3f}" for gap in gaps)
                lines.append(f"- {name} minus {other}: **{_mean(gaps):+.3f}** ({seeds})")
        return lines

    def _first_stages(self) -> list[list[str]]:
        shown: dict[str, list[str]] = {}
        for name, results in self.found.items():
            firsts = [result["first_stage"] for result in results]
            if not firsts[0]:
                continue
            ratio = f"{_mean([f['sem_branch_ratio'] for f in firsts]):.2f}" if "sem_branch_ratio" in firsts[0] else ""
            cells = [f"{_mean([f['loss'] for f in firsts]):.3f}", ratio, f"{_mean([f['seconds'] for f in firsts]):.0f}"]
            # Variants that share a first stage share its figures.
            shown.setdefault(json.dumps(firsts), [name, *cells])
        return list(shown.values())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _scores(values: list[float], seeds: int) -> list[str]:
    """The mean, and a cell a seed: empty where a seed was not run."""
    cells = [f"{value:.3f}" for value in values]
    return [f"**{_mean(values):.3f}**", *cells, *[""] * (seeds - len(cells))]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def source(results: list[dict[str, Any]], scale: Scale) -> str:
    """Where the numbers come from: command, commits, machine, memory and every setting."""
    machine = " · ".join(str(value) for value in hardware().values())
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items())
    commits = ", ".join(sorted({str(result["commit"]) for result in results}))
    memory = human_bytes(max(result["peak_memory_bytes"] or 0 for result in results))
    return (
        "## Source\n\n"
        f"`python benchmarks/planted.py --write`, commit {commits}; {libraries}; {machine}; one thread, float32, at most "
        f"{memory} resident.\n\n"
        "Models are those of `Variant.config`; every row has these settings:\n\n"
        f"```json\n{json.dumps(asdict(scale), indent=1)}\n```\n"
    )


def with_measured(page: str, measured: str) -> str:
    """``page`` with what stands between the two marks replaced.

    Raises: ValueError where a mark is missing.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"page must hold the marks {_BEGIN} and {_END}")
    return f"{before}{begin}\n\n{measured.strip()}\n\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claim", type=int, choices=list(MAKERS), nargs="+", default=list(MAKERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, default=_HOME / "build" / "planted", help="where results are kept")
    parser.add_argument("--kept", action="store_true", help="run nothing: tables of the kept results, by row")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results/planted.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    blocks, results = [], []
    for claim in asked.claim:
        benches = [Bench(claim=claim, seed=seed, scale=Scale(), cache=asked.cache) for seed in asked.seeds]
        found: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants(claim)}
        for bench in benches:
            for variant in variants(claim):
                if asked.kept and not bench.kept(variant):
                    continue
                result = bench.result(variant)
                found[variant.name].append(result)
                print(f"claim {claim}, seed {bench.seed}: {variant.name}: AUC {result['auc']:.3f}", flush=True)
        found = {name: rows for name, rows in found.items() if rows}
        if found:
            blocks.append(
                Table(
                    claim,
                    found,
                    [b.oracle() for b in benches if any(r["seed"] == b.seed for rows in found.values() for r in rows)],
                ).markdown()
            )
        results += [result for row in found.values() for result in row]
    measured = "\n".join([*blocks, source(results, Scale())])
    print(measured)
    if asked.write:
        write_whole(_PAGE, with_measured(_PAGE.read_text(), measured).encode())


if __name__ == "__main__":
    main()
