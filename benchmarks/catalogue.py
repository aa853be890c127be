"""What a catalogue of millions costs: the full softmax, a training step, exact and approximate search.

Every part runs in processes of its own, so that the largest resident memory is that of the part; no speed is printed where
results disagree with the reference.

    python benchmarks/catalogue.py --parts softmax step search faiss --write
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from measured import RESULTS, Ratio, keep, machine, ratio
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.units import human_bytes
from hpgr.models.sasrec import sasrec
from hpgr.objectives.losses.softmax import softmax_loss, softmax_reference
from hpgr.objectives.sampled_costs import SampledSoftmax
from hpgr.retrieval.exact import ExactIndex, top_k
from hpgr.retrieval.faiss_index import FaissIndex, Flat, Hnsw, IvfPq
from hpgr.training.settings import StageSettings
from hpgr.training.stages import fit_stage

DIM, RUNS = 64, 3
Found = dict[str, Any]
Section = tuple[list[str], dict[str, Ratio]]


def peak() -> int:
    """The largest resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(call: Callable[[], Any], runs: int = RUNS) -> list[float]:
    """Seconds of each run."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def told(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}–{max(seconds):.2f})"


def vectors(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, DIM, generator=torch.Generator().manual_seed(seed)).mul_(0.3)


def agree(got: Tensor, want: Tensor, what: str) -> None:
    """Refuse to go on unless two results are equal to a hundred-thousandth of the largest."""
    if not torch.allclose(got, want, rtol=0, atol=1e-5 * max(1e-30, float(want.abs().max()))):
        raise SystemExit(f"{what} must be those of the reference; they are not")


def softmax_memory(items: int, queries: int, plain: bool) -> Found:
    """Memory of one cost with its gradients beyond states and table."""
    states, table = vectors(queries, 1).requires_grad_(), vectors(items).requires_grad_()
    before = peak()
    call = softmax_reference if plain else softmax_loss
    torch.autograd.grad(call(states, torch.arange(queries), table), (states, table))
    return {"bytes": peak() - before}


def softmax_time(items: int, queries: int) -> Found:
    """Seconds of both in turns, after their results have been compared."""
    states, table = vectors(queries, 1).requires_grad_(), vectors(items).requires_grad_()

    def once(call: Callable[..., Tensor]) -> tuple[Tensor, ...]:
        loss = call(states, torch.arange(queries), table)
        return loss.detach(), *torch.autograd.grad(loss, (states, table))

    for got, want in zip(once(softmax_loss), once(softmax_reference)):
        agree(got, want, "cost and gradients")
    pairs = [
        (timed(lambda: once(softmax_loss), 1)[0], timed(lambda: once(softmax_reference), 1)[0]) for _ in range(RUNS)
    ]
    return {"ours": [a for a, _ in pairs], "plain": [b for _, b in pairs]}


class Steps:
    """Batches of the same size, of items drawn evenly."""

    def __init__(self, items: int, count: int) -> None:
        self.items, self.count = items, count

    def set_epoch(self, epoch: int) -> None: ...

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[History]:
        generator = torch.Generator().manual_seed(1)
        for _ in range(self.count):
            yield History.from_lists(torch.randint(self.items, (40, 50), generator=generator).tolist())


def step(items: int, steps: int) -> Found:
    """Training steps of SASRec with a softmax over a sample, corrected by logQ, tables moved by rows."""
    config = sasrec(dim=DIM, loss="sampled")
    cost = SampledSoftmax(num_negatives=1024, log_q=True)
    config = replace(
        config,
        items=replace(config.items, sparse=True),
        objective=replace(config.objective, cost=cost),
    )
    model = config.build(num_items=items)
    touched = torch.cat([history.item_idx for history in Steps(items, steps)]).unique()
    some = torch.arange(0, items, max(1, items // 10_000))
    before_touched, before_some = model.items.weight[touched[:1000]].detach().clone(), model.items.weight[some].detach()
    settings = StageSettings(epochs=1, lr=0.01, table_optimiser="rowwise", precision="32")
    result = fit_stage(model.stages()[0], Steps(items, steps), settings=settings, seed=1)
    moved = (model.items.weight[touched[:1000]] != before_touched).any(1).float().mean()
    still = (model.items.weight[some] == before_some).all(1).float().mean()
    needed = (len(touched) + steps * cost.num_negatives) / items
    if result.steps != steps or moved < 0.99 or still < 0.98 - 1.1 * needed:
        raise SystemExit("a step must move the rows that it reads, and no others; it does not")
    return {"bytes": peak(), "seconds": 40 * 50 / result.curve[-1]["tokens_per_s"], "loss": result.curve[-1]["loss"]}


def search(items: int, queries: int, k: int = 100) -> Found:
    """Exact search by blocks, beside whole rows of scores."""
    table, query = vectors(items), vectors(queries, 1)
    before = peak()
    index = ExactIndex(table)
    rows, scores = index.search(query, k)
    found: Found = {"bytes": peak() - before}
    plain_rows, plain = top_k(query @ table.T, k)
    agree(scores, plain, "scores of the best")
    agree((query[:, None] * table[rows]).sum(2), plain, "scores of the rows found")
    found["plain_bytes"] = peak() - before
    pairs = [
        (timed(lambda: index.search(query, k), 1)[0], timed(lambda: (query @ table.T).topk(k), 1)[0])
        for _ in range(RUNS)
    ]
    equal = float((rows == plain_rows).float().mean())
    return found | {"ours": [a for a, _ in pairs], "plain": [b for _, b in pairs], "equal": equal}


def faiss(items: int, queries: int, kind: str) -> Found:
    """Recall and speed of an index on vectors in clusters, beside exact search for the same queries."""
    generator = torch.Generator().manual_seed(2)
    centres = vectors(max(2, items // 200), 3)
    table = centres[torch.randint(len(centres), (items,), generator=generator)] + vectors(items, 4) * 0.7
    query = centres[torch.randint(len(centres), (queries,), generator=generator)] + vectors(queries, 5) * 0.7
    chosen = {"flat": Flat(), "hnsw": Hnsw(links=16, build_effort=40), "ivfpq": IvfPq()}[kind]
    start = time.perf_counter()
    index = FaissIndex(chosen, table, query=query[: queries // 2], k=10)
    build = time.perf_counter() - start
    asked, exact = query[queries // 2 :], ExactIndex(table)
    rows, scores = index.search(asked, 10)
    agree((asked[:, None] * table[rows]).sum(2), scores, "scores of what was found")
    best, _ = exact.search(asked, 10)
    other = float((best[:, :, None] == rows[:, None, :]).any(2).float().mean())
    pairs = [
        (timed(lambda: index.search(asked, 10), 1)[0], timed(lambda: exact.search(asked, 10), 1)[0])
        for _ in range(RUNS)
    ]
    return {
        "options": str(chosen),
        "build": build,
        "recall": index.recall,
        "other": other,
        "ours": [a / len(asked) for a, _ in pairs],
        "exact": [b / len(asked) for _, b in pairs],
    }


CHILDREN = {call.__name__: call for call in (softmax_memory, softmax_time, step, search, faiss)}


def child(name: str, **options: Any) -> Found:
    """One measurement in a fresh process."""
    command = [sys.executable, __file__, "--child", name, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


def softmax_section(arguments: argparse.Namespace) -> Section:
    shape = {"items": arguments.items, "queries": arguments.predictions}
    ours, plain = (child("softmax_memory", **shape, plain=plain)["bytes"] for plain in (False, True))
    clock = child("softmax_time", **shape)
    faster, smaller = ratio(clock["plain"], clock["ours"]), plain / ours
    lines = [
        f"{shape['queries']} predictions, {shape['items']:,} items, float32; value and gradients of states and table. Memory is "
        f"what is added to them, the gradient of the table ({human_bytes(4 * DIM * shape['items'])}) included.",
        "",
        "| | seconds, median (min–max) | memory |",
        "|---|---|---|",
        f"| `F.cross_entropy(states @ table.T, target)` | {told(clock['plain'])} | {human_bytes(plain)} |",
        f"| `softmax_loss` | {told(clock['ours'])} | {human_bytes(ours)} |",
        f"| ratio | {faster.median:.2f} | {smaller:.1f} |",
    ]
    where = f"softmax, {shape['items']:,} items"
    return lines, {f"{where}, seconds": faster, f"{where}, memory": Ratio(smaller, smaller, smaller)}


def step_section(arguments: argparse.Namespace) -> Section:
    found = child("step", items=arguments.most_items, steps=arguments.steps)
    lines = [
        f"SASRec, {arguments.most_items:,} items × {DIM}, softmax over 1,024 sampled items with logQ, `items.sparse=True`, "
        f"`table_optimiser=rowwise`, gradient clipped, {arguments.steps} batches of 2,000 events, on Lightning's Trainer.",
        "",
        "| largest resident memory of the process | of it the table | a step, mean |",
        "|---|---|---|",
        f"| {human_bytes(found['bytes'])} | {human_bytes(4 * DIM * (arguments.most_items + 1))} | {found['seconds']:.2f} s |",
    ]
    return lines, {}


def search_section(arguments: argparse.Namespace) -> Section:
    found = child("search", items=arguments.most_items, queries=arguments.queries)
    faster, smaller = ratio(found["plain"], found["ours"]), found["plain_bytes"] / max(1, found["bytes"])
    lines = [
        f"{arguments.queries} queries, {arguments.most_items:,} items × {DIM}, k = 100; memory beyond the table. Scores agree; "
        f"{found['equal']:.2%} of the places hold the same row (others are ties within rounding).",
        "",
        "| | seconds, median (min–max) | memory |",
        "|---|---|---|",
        f"| `(query @ table.T).topk(k)` | {told(found['plain'])} | {human_bytes(found['plain_bytes'])} |",
        f"| `ExactIndex.search` | {told(found['ours'])} | {human_bytes(found['bytes'])} |",
        f"| ratio | {faster.median:.2f} | {smaller:.1f} |",
    ]
    where = f"search, {arguments.most_items:,} items"
    return lines, {f"{where}, seconds": faster, f"{where}, memory": Ratio(smaller, smaller, smaller)}


def faiss_section(arguments: argparse.Namespace) -> Section:
    lines = [
        f"{arguments.items:,} items × {DIM} in clusters of 200, k = 10, queries in batches of {arguments.faiss_queries // 2}. Recall is "
        "measured when the index is built, and again on as many other queries.",
        "",
        "| index | build | recall@10 (on others) | ms a query, median (min–max) | times as fast as exact |",
        "|---|---|---|---|---|",
    ]
    ratios = {}
    for kind in ("flat", "ivfpq", "hnsw"):
        found = child("faiss", items=arguments.items, queries=arguments.faiss_queries, kind=kind)
        ms = [1e3 * second for second in found["ours"]]
        faster = ratio(found["exact"], found["ours"])
        ratios[f"faiss, exact / {kind}, {arguments.items:,} items"] = faster
        speed = f"{statistics.median(ms):.2f} ({min(ms):.2f}–{max(ms):.2f})"
        recall = f"{found['recall']:.3f} ({found['other']:.3f})"
        lines.append(f"| `{found['options']}` | {found['build']:.0f} s | {recall} | {speed} | {faster.median:.1f} |")
    return lines, ratios


SECTIONS = {
    "softmax": ("Full softmax", softmax_section),
    "step": ("A training step", step_section),
    "search": ("Exact search", search_section),
    "faiss": ("Approximate search", faiss_section),
}


def write_result(sections: dict[str, Section]) -> Path:
    """Replace these sections of the newest page of this machine, and their ratios."""
    kept, ratios = dict[str, str](), dict[str, Ratio]()
    before = max(RESULTS.glob(f"catalogue_{machine()}_*.md"), default=None)
    if before is not None:
        parts = (part.partition("\n") for part in before.read_text().split("\n## ")[1:])
        kept = {title: body.strip() for title, _, body in parts}
        twin = before.with_suffix(".json")
        found = json.loads(twin.read_text())["ratios"] if twin.exists() else {}
        ratios = {name: Ratio(**one) for name, one in found.items() if name.split(",")[0] not in sections}
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    for name, (lines, more) in sections.items():
        kept[SECTIONS[name][0]] = "\n".join([*lines, "", f"Commit {commit or 'unknown'}, torch {torch.__version__}."])
        ratios |= more
    page = ["# A catalogue of millions", "", f"{RUNS} runs in turns."]
    for title, _ in SECTIONS.values():
        page += ["", f"## {title}", "", kept[title]] if title in kept else []
    command = f"python benchmarks/catalogue.py --parts {' '.join(sections)} --write"
    return keep("catalogue", page, ratios, command=command, settings={"runs": RUNS})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--items", type=int, default=1_000_000, help="of the softmax and of approximate search")
    parser.add_argument("--most-items", type=int, default=10_000_000, help="of the step and of exact search")
    parser.add_argument("--predictions", type=int, default=512)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--faiss-queries", type=int, default=400)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/")
    parser.add_argument("--child", nargs=2, metavar=("NAME", "OPTIONS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        name, options = arguments.child
        print(json.dumps(CHILDREN[name](**json.loads(options))))
        return
    sections = {name: SECTIONS[name][1](arguments) for name in arguments.parts}
    for lines, _ in sections.values():
        print("\n".join(lines), end="\n\n")
    if arguments.write:
        print(write_result(sections))


if __name__ == "__main__":
    main()
