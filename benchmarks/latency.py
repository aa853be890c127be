"""Milliseconds to score one user's candidates on one core: cold, with the history kept, and after one event more.

Nothing is printed where kept and grown states differ from recomputation by more than 1e-5.

    python benchmarks/latency.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import torch
from measured import alone, in_turn, keep, must_agree, ratio
from torch import Tensor

import hpgr.models  # noqa: F401 - registers them
from hpgr.core.batch import Candidates, History
from hpgr.core.units import human_bytes
from hpgr.frames.ranking_state import Event, with_event
from hpgr.frames.registry import MODELS
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.ops.hashed_positions import hashed_positions, recall, sign_codes
from hpgr.ops.nearest_positions import nearest_positions

MODELS_TIMED = ("hpgr-live", "hpgr", "hpgr-paper")
ITEMS, SESSION, DAY_MS = 10_000, 10, 86_400_000


def ranker(name: str) -> TwoStageRecommender:
    """A model with drawn weights; speed does not depend on what it has learnt."""
    torch.manual_seed(0)
    return MODELS[name]().build(num_items=ITEMS).eval()


def history(length: int) -> History:
    """Sessions of ten events, a day apart."""
    items = torch.randint(ITEMS, (length,), generator=torch.Generator().manual_seed(1)).tolist()
    times = [(i // SESSION) * DAY_MS + 1000 * i for i in range(length)]
    return History.from_lists([items], times_ms=[times], sessions=[[i // SESSION for i in range(length)]])


def candidates(module: TwoStageRecommender, count: int, now_ms: Tensor) -> Candidates:
    draw = torch.Generator().manual_seed(2)
    features = torch.rand(count, len(module.config.ranker.features), generator=draw)
    return Candidates.from_lists(
        [torch.randint(ITEMS, (count,), generator=draw).tolist()], now_ms=now_ms, features=features
    )


def score_many(name: str, length: int, count: int) -> int:
    """Scores of ``count`` candidates by a kept history, in a process that does nothing else."""
    torch.set_num_threads(1)
    module, past = ranker(name), history(length)
    return len(module.score(module.begin(past), candidates(module, count, past.now_ms)))


def percentiles(seconds: Sequence[float]) -> str:
    """``p50 / p95`` in milliseconds."""
    return f"{1e3 * statistics.median(seconds):.1f} / {1e3 * sorted(seconds)[int(0.95 * len(seconds))]:.1f}"


def timed(name: str, length: int, count: int, runs: int) -> tuple[str, dict]:
    """A row of the table, and the ratios of recomputation to what is kept."""
    module, past = ranker(name), history(length)
    asked, state = candidates(module, count, past.now_ms), module.begin(past)

    def cold() -> Tensor:
        with torch.inference_mode():
            return module.logits(past, asked)

    must_agree(f"{name}: cached scores", module.score(state, asked), cold(), rtol=1e-5, atol=1e-5)
    jobs = {"cold": cold, "cached": lambda: module.score(state, asked)}
    event = Event(item_idx=3, time_ms=int(past.time_ms[-1]) + 1000)
    if module.why_not_appended() is None:
        grown, whole = module.append(state, event), module.begin(with_event(past, event))
        for part, tensor in whole.tensors().items():
            must_agree(f"{name}: {part} after an event", grown.tensors()[part], tensor, rtol=1e-5, atol=1e-5)
        jobs |= {"begin": lambda: module.begin(past), "append": lambda: module.append(state, event)}
    seconds = in_turn(jobs, runs, warm=3)
    shape = f"{name}, {length} events, {count} candidates"
    ratios = {f"cached beside cold, {shape}": ratio(seconds["cold"], seconds["cached"])}
    if "append" in seconds:
        ratios[f"append beside begin, {shape}"] = ratio(seconds["begin"], seconds["append"])
    append = percentiles(seconds["append"]) if "append" in seconds else "begins again"
    return f"| `{name}` | {percentiles(seconds['cold'])} | {percentiles(seconds['cached'])} | {append} |", ratios


def selection(length: int, count: int, runs: int, k: int = 16, dim: int = 64) -> list[str]:
    """Rows of exact and hashed selection: recall and milliseconds; clustered vectors, as trained ones are."""
    torch.manual_seed(3)
    centres = torch.randn(50, dim)
    key, query = (centres[torch.randint(50, (n,))] + 0.7 * torch.randn(n, dim) for n in (length, count))
    where = torch.tensor([0, length]), torch.tensor([0, count])
    exact = nearest_positions(query, key, *where, k)
    must_agree(
        "nearest positions",
        exact[:5],
        nearest_positions(query[:5], key, where[0], torch.tensor([0, 5]), k, impl="reference"),
    )
    jobs = {"exact": lambda: nearest_positions(query, key, *where, k)}
    rows = {"exact": "1.00 | 256 B"}
    for bits in (64, 256, 1024):
        codes = sign_codes(query, bits), sign_codes(key, bits)
        jobs[f"hashed, {bits} bits"] = lambda codes=codes: hashed_positions(*codes, *where, k)
        rows[f"hashed, {bits} bits"] = f"{recall(hashed_positions(*codes, *where, k), exact):.2f} | {bits // 8} B"
    seconds = in_turn(jobs, runs)
    return [f"| {name} | {rows[name]} | {percentiles(seconds[name])} |" for name in jobs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--short", action="store_true", help="ten runs, a tenth of the many candidates")
    asked = parser.parse_args()
    runs, many = (10, asked.many // 10) if asked.short else (asked.runs, asked.many)
    torch.set_num_threads(1)
    lines = [
        "# Scoring latency",
        "",
        f"One user with {asked.events:,} events, {asked.candidates} candidates, one thread; milliseconds, p50 / p95 of {runs} runs.",
        "Cold: from events to scores. Cached: the history's keys and values are kept. Append: one event more.",
        "",
        "| model | cold | cached | append |",
        "|---|---|---|---|",
    ]
    ratios = {}
    for name in MODELS_TIMED:
        row, found = timed(name, asked.events, asked.candidates, runs)
        lines.append(row)
        ratios |= found
    lines += ["", "## Memory of many candidates", "", "| candidates | grown by |", "|---|---|"]
    for count in (many // 10, many):
        grown = alone(score_many, MODELS_TIMED[0], asked.events, count).grown_bytes
        lines.append(f"| {count:,} | {human_bytes(grown)} |")
    lines += [
        "",
        f"## Selection of 16 of {asked.events:,} events for {asked.candidates} candidates, D = 64",
        "",
        "| by | recall | an event | ms |",
        "|---|---|---|---|",
        *selection(asked.events, asked.candidates, runs),
    ]
    what = "latency-short" if asked.short else "latency"
    print(*lines, keep(what, lines, ratios, command="python benchmarks/latency.py", settings=vars(asked)), sep="\n")


if __name__ == "__main__":
    main()
