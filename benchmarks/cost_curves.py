"""Time and memory of one training step of HPGR's ranker by length of history: dense rows beside session-sparse ones.

One user, sessions of ten events; forward and backward. Each point is a process of its own. Nothing is kept where the
session-sparse rows differ from their reference. Writes a page, and ``docs/cost-curves.svg`` where asked to.

    python benchmarks/cost_curves.py --svg docs/cost-curves.svg
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from curves import Curve, drawn
from measured import Ratio, alone, keep, must_agree

from hpgr.core.batch import Candidates, History
from hpgr.core.units import human_bytes
from hpgr.frames.ranking import RankingRecommender
from hpgr.models.hpgr import hpgr
from hpgr.nn.session_rows import SessionRows
from hpgr.ops.block_attention import block_attention

ITEMS, SESSION, DAY_MS = 10_000, 10, 86_400_000
ROWS = {"dense": None, "session-sparse": SessionRows()}


def step_seconds(rows: str, length: int, num_candidates: int, runs: int, threads: int) -> list[float]:
    """Seconds of ``runs`` steps after one that does not count."""
    torch.set_num_threads(threads)
    module, batch = ranker(rows), question(length, num_candidates)
    seconds = []
    for turn in range(runs + 1):
        begun = time.perf_counter()
        module.loss(batch, torch.Generator())["loss"].backward()
        if turn:
            seconds.append(time.perf_counter() - begun)
        module.zero_grad()
    return seconds


def ranker(rows: str) -> RankingRecommender:
    torch.manual_seed(0)
    config = hpgr().ranker
    encoder = replace(config.encoder, rows=ROWS[rows])
    return replace(config, encoder=encoder, features=()).build(num_items=ITEMS).train()


def question(length: int, num_candidates: int) -> tuple[History, Candidates]:
    draw = torch.Generator().manual_seed(1)
    items = torch.randint(ITEMS, (length,), generator=draw).tolist()
    times = [(i // SESSION) * DAY_MS + 1000 * i for i in range(length)]
    history = History.from_lists([items], times_ms=[times], sessions=[[i // SESSION for i in range(length)]])
    asked = torch.randint(ITEMS, (num_candidates,), generator=draw).tolist()
    labels = [[float(i % 2) for i in range(num_candidates)]]
    return history, Candidates.from_lists([asked], now_ms=history.now_ms, labels=labels)


def check() -> None:
    """Stop where the blocks of session-sparse rows read something else than their reference."""
    history, _ = question(257, 1)
    signal = torch.randn(257, 8)
    blocks = SessionRows().blocks(signal, history.user_offsets, history.session_offsets)
    q, k, v = (torch.randn(257, 2, 4, requires_grad=True) for _ in range(3))
    lists = blocks.rows_PW, blocks.visible_NW
    got, want = (
        block_attention(q, k, v, blocks.offsets_P1, lists, normaliser=200.0, impl=impl)
        for impl in ("vectorised", "reference")
    )
    must_agree("session-sparse rows", got, want)
    for mine, theirs in zip(*(torch.autograd.grad(out.sum(), (q, k, v)) for out in (got, want))):
        must_agree("gradient of session-sparse rows", mine, theirs)


def exponent(lengths: list[int], values: list[float]) -> float:
    """The slope of least squares in logarithms: ``values`` grow as ``lengths`` to this power."""
    x, y = ([math.log(value) for value in row] for row in (lengths, values))
    return statistics.linear_regression(x, y).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--longest-dense", type=int, default=16384)
    parser.add_argument("--candidates", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--svg", type=Path)
    parser.add_argument(
        "--short", action="store_true", help="lengths up to 4,096, dense up to 2,048, one candidate set"
    )
    asked = parser.parse_args()
    if asked.short:
        asked.lengths, asked.longest_dense, asked.candidates, asked.runs = [256, 1024, 4096], 1024, [20], 2
    check()
    lines = [
        "# Cost of HPGR's ranker by length of history",
        "",
        "One training step (forward and backward) of `hpgr`'s ranker on one user, sessions of ten events; median (min–max).",
    ]
    ratios: dict[str, Ratio] = {}
    curves: list[Curve] = []
    for num_candidates in asked.candidates:
        table, found, drawn_curves = measured(asked, num_candidates)
        lines += ["", f"## {num_candidates} candidates", "", *table]
        ratios |= found
        curves = drawn_curves
    if asked.svg is not None:
        asked.svg.write_text(drawn(curves, f"One training step, {asked.candidates[-1]} candidates"))
    what = "cost_curves-short" if asked.short else "cost_curves"
    print(*lines, keep(what, lines, ratios, command="python benchmarks/cost_curves.py", settings=vars(asked)), sep="\n")


def measured(asked: argparse.Namespace, num_candidates: int) -> tuple[list[str], dict[str, Ratio], list[Curve]]:
    """Lines of a table and what follows from it, the ratios dense / session-sparse, and the curves."""
    lines = ["| events | rows | ms | memory beyond the start |", "|---|---|---|---|"]
    points: dict[str, list[tuple[int, list[float], int]]] = {rows: [] for rows in ROWS}
    for length in asked.lengths:
        for rows in ROWS:
            if rows == "dense" and length > asked.longest_dense:
                continue
            told = alone(step_seconds, rows, length, num_candidates, asked.runs, asked.threads)
            points[rows].append((length, told.value, told.grown_bytes))
            middle, least, most = (1e3 * f(told.value) for f in (statistics.median, min, max))
            shown = f"{middle:.1f} ({least:.1f}–{most:.1f}) | {human_bytes(told.grown_bytes)}"
            lines.append(f"| {length:,} | {rows} | {shown} |")
    ratios, wins, curves = {}, [], []
    for (length, dense, _), (_, sparse, _) in zip(points["dense"], points["session-sparse"]):
        each = [a / b for a, b in zip(dense, sparse)]
        name = f"dense / session-sparse, {length} events, {num_candidates} candidates"
        ratios[name] = Ratio(statistics.median(each), min(each), max(each))
        wins += [length] if ratios[name].median > 1 else []
    lines.append("")
    for rows, found in points.items():
        lengths = [length for length, _, _ in found]
        grows = [
            exponent(lengths, values)
            for values in ([statistics.median(seconds) for _, seconds, _ in found], [memory for *_, memory in found])
        ]
        lines.append(f"{rows}: time grows as L^{grows[0]:.2f}, memory as L^{grows[1]:.2f}.")
        curves.append(Curve(f"{rows}, ms", lengths, [1e3 * statistics.median(seconds) for _, seconds, _ in found], 0))
        curves.append(Curve(f"{rows}, MB", lengths, [memory / 1e6 for *_, memory in found], 1))
    lines.append(
        f"Session-sparse rows are the faster from L = {min(wins):,} on." if wins else "Dense rows are the faster."
    )
    return lines, ratios, curves


if __name__ == "__main__":
    main()
