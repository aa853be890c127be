"""Whether batches are even and training ever waits for them: tokens of a batch, shares of ranks, time to make an epoch.

    python benchmarks/loading.py --write
    python benchmarks/loading.py --short --write

A simulated log whose users are of very unlike activity; windows, and requests with negatives and features for a ranker.
Training is SASRec with the full softmax, without workers and with one. The ratio is how many times longer a step takes
than the batch it reads; 20 is a wait share of 5 %.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import Ratio, keep, ratio

from hpgr.api.material import Material
from hpgr.data.log import EventLog
from hpgr.data.requests import SampledRequests
from hpgr.data.simulator import Simulator
from hpgr.data.split_rules import LeaveOneOut
from hpgr.data.store import SequenceStore
from hpgr.data.windows import TrainWindows
from hpgr.frames.ranking import FEATURES
from hpgr.models.hstu import hstu_ranker
from hpgr.models.sasrec import sasrec
from hpgr.training.batches import Batches, tokens_of
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage

BUDGET, MAX_LEN = 8192, 200


def material_of(users: int, items: int, folder: Path) -> Material:
    """A log in a store, the last event of each user held out."""
    shape = {"num_users": users, "num_items": items, "sessions_per_user": 28.0, "exposures_per_session": 0.0}
    Simulator.Config(**shape).build().write(folder / "log.parquet")
    store = SequenceStore.build(EventLog.read(folder / "log.parquet"), folder / "store")
    return Material.of(store, LeaveOneOut())


def feeds(material: Material) -> dict[str, tuple[Any, Any]]:
    """By kind of batch: a function that gives the batches of a rank, and the model that reads them."""
    split = material.split

    def windows(shard: tuple[int, int]) -> TrainWindows:
        config = TrainWindows.Config(max_len=MAX_LEN, batch_tokens=BUDGET)
        return TrainWindows(material.store, split.train, split.catalogue, config, seed=1, shard=shard)

    def requests(shard: tuple[int, int]) -> SampledRequests:
        config = SampledRequests.Config(positives_per_user=1, batch_tokens=BUDGET)
        return SampledRequests(material.asked(FEATURES, MAX_LEN), split.train, config, seed=1, shard=shard)

    return {"windows": (windows, sasrec()), "requests": (requests, hstu_ranker())}


def evenness(batches: Any, world: int) -> dict[str, float]:
    """How unlike the batches of an epoch are, alone and dealt to ``world`` ranks; tokens."""
    tokens = np.array([tokens_of(batch) for batch in batches((0, 1))])
    shares = [sum(map(tokens_of, batches((rank, world)))) for rank in range(world)]
    return {
        "batches": len(tokens),
        "least": int(tokens.min()),
        "most": int(tokens.max()),
        "spread": float(tokens.min() / tokens.max()),
        "ranks": min(shares) / max(shares),
    }


def made_in(batches: Batches) -> list[float]:
    """Seconds that each batch of an epoch takes to make."""
    seconds, begun = [], time.perf_counter()
    for _ in batches:
        seconds.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    return seconds


def waited(material: Material, batches: Batches, model: Any, steps: int, workers: int) -> tuple[float, float]:
    """Share of the time in which training waited, and seconds a step."""
    torch.manual_seed(0)
    frame = model.build(num_items=len(material.split.catalogue))
    frame.observe(torch.from_numpy(material.split.catalogue.train_count)) if hasattr(frame, "observe") else None
    settings = StageSettings(epochs=1, limit_batches=steps, precision="32")
    keep_house = Housekeeping(accelerator="cpu", workers=workers)
    line = fit_stage(frame.stages()[0], batches, settings=settings, seed=1, keep=keep_house).curve[0]
    return line["wait_share"], line["seconds"] / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--short", action="store_true", help="600 users, four steps")
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/")
    asked = parser.parse_args()
    if asked.short:
        asked.users, asked.steps = 600, 4
    rows, ratios = [], {}
    with tempfile.TemporaryDirectory() as folder:
        material = material_of(asked.users, asked.items, Path(folder))
        for name, (batches, model) in feeds(material).items():
            even = evenness(batches, 4)
            if even["most"] > BUDGET:
                raise SystemExit(f"batches of {name} ({even['most']} tokens) must keep the budget of {BUDGET}")
            make_s = made_in(batches((0, 1)))
            none, one = (waited(material, batches((0, 1)), model, asked.steps, workers) for workers in (0, 1))
            many = ratio([none[1]] * len(make_s), [max(x, 1e-9) for x in make_s])
            ratios[f"{name}: a step over the batch it reads, {BUDGET} tokens"] = replace_ends(many)
            rows.append(
                f"| {name} | {even['batches']} | {even['least']:,}–{even['most']:,} | {even['spread']:.3f} | {even['ranks']:.4f} | "
                f"{statistics.median(make_s) * 1e3:.1f} | {none[1] * 1e3:,.0f} | {none[0]:.2%} | {one[0]:.2%} |"
            )
            print(rows[-1], flush=True)
    if asked.write:
        settings = {name: value for name, value in vars(asked).items() if name != "write"}
        what = "loading-short" if asked.short else "loading"
        print(keep(what, page(rows, asked), ratios, command="python benchmarks/loading.py --write", settings=settings))


def replace_ends(found: Ratio) -> Ratio:
    """Single batches scatter widely; half and twice the median are the range outside which the ratio has moved."""
    return replace(found, least=found.median / 2, most=found.median * 2)


def page(rows: list[str], asked: argparse.Namespace) -> list[str]:
    """What is kept for readers."""
    return [
        "# Loading",
        "",
        f"Simulated log of {asked.users:,} users and {asked.items:,} items, windows and histories of at most {MAX_LEN} events, "
        f"{BUDGET:,} tokens a batch, no padding. *even*: the smallest batch over the largest, and the smallest share of four "
        "ranks over the largest. *waits*: share of training's time in which it stood still for a batch, without and with a worker.",
        "",
        "| batches | of an epoch | tokens | even | even over ranks | ms to make, median | ms a step | waits, no worker | one worker |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
    ]


if __name__ == "__main__":
    main()
