"""How fast and how large ``attention`` is on this machine, beside the plain expression and torch's fused kernel.

    python benchmarks/attention.py --write

Causal rows, float32, two heads of 32. The plain expression holds every pair of a row: ``silu(q k' scale) / n``, masked,
times ``v``. Runs of all of them take turns, so that a ratio compares runs of one minute. Memory is what a fresh process
reaches beyond its inputs in one forward and backward. No speed is printed where outputs or gradients disagree; beyond the
lengths for which the plain expression fits, the first 2,048 events are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from measured import Ratio, keep, ratio
from torch import Tensor

from hpgr.core.jagged import offsets_of
from hpgr.core.units import human_bytes
from hpgr.nn.relative_bias import RelativeBias
from hpgr.ops.attention import MaskRule, attention

HEADS, WIDTH, EVENTS, NORMALISER = 2, 32, 2048, 2048.0
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
LONGEST_PLAIN = 4096
Case = tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]


def case_of(length: int) -> Case:
    """``(q, k, v, upstream [T, H, K], leaves)`` for rows of ``length``, at least 2,048 events."""
    torch.manual_seed(0)
    count = max(length, EVENTS)
    q, k, v, upstream = (torch.randn(count, HEADS, WIDTH) for _ in range(4))
    leaves = [x.requires_grad_() for x in (q, k, v)]
    return q, k, v, upstream, leaves


def rows_of(length: int) -> int:
    return max(1, EVENTS // length)


def plain(case: Case, length: int) -> Tensor:
    """The reference expression."""
    q, k, v = (x.view(-1, length, HEADS, WIDTH).transpose(1, 2) for x in case[:3])
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    weights = F.silu(q @ k.transpose(-1, -2) * WIDTH**-0.5) / NORMALISER
    return (weights.masked_fill(~seen, 0.0) @ v).transpose(1, 2).flatten(0, 1)


def fused(case: Case, length: int) -> Tensor:
    """torch's causal softmax."""
    q, k, v = (x.view(-1, length, HEADS, WIDTH).transpose(1, 2) for x in case[:3])
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(0, 1)


def ours(case: Case, length: int) -> Tensor:
    """The package, silu weights."""
    return _attention(case, length, None)


def ours_biased(case: Case, length: int) -> Tensor:
    """The package, silu weights, both relative biases and their gradients."""
    count = case[0].shape[0]
    generator = torch.Generator().manual_seed(0)
    time_ms = torch.randint(1000, 18_000_000, (count,), generator=generator).cumsum(0)
    table = RelativeBias.Config(num_positions=512).build()
    return _attention(case, length, table.between(time_ms, time_ms, None))


def _attention(case: Case, length: int, bias: object) -> Tensor:
    offsets = offsets_of(torch.full((rows_of(length),), length))
    how = {"weights": "silu", "rule": MaskRule(), "normaliser": NORMALISER, "scale": WIDTH**-0.5}
    return attention(*case[:3], offsets, bias=bias, **how)


PATHS: dict[str, Callable[[Case, int], Tensor]] = {
    "plain": plain,
    "fused": fused,
    "ours": ours,
    "ours, biased": ours_biased,
}


def check(length: int) -> None:
    """Raises: SystemExit where outputs or gradients are not those of the plain expression."""
    *qkv, upstream, leaves = case_of(length)
    whole = (*qkv, upstream, leaves)
    compared = length if length <= LONGEST_PLAIN else EVENTS
    used = upstream.clone()
    if compared < length:
        used[compared:] = 0
    out = ours(whole, length)
    grads = torch.autograd.grad(out, leaves, used)
    part = upstream.shape[0] if compared == length else compared
    short = [x[:part].detach().requires_grad_() for x in qkv]
    want = plain((*short, upstream[:part], short), compared)
    wanted = torch.autograd.grad(want, short, upstream[:part])
    for got, reference in zip((out, *grads), (want, *wanted)):
        if not torch.allclose(got[:part], reference, rtol=1e-4, atol=1e-5 * float(reference.detach().abs().max())):
            raise SystemExit(f"outputs and gradients at L = {length} must be those of the plain expression")


def timed(length: int, runs: int) -> dict[tuple[str, str], list[float]]:
    """Milliseconds of each run, by path and by pass."""
    case = case_of(length)
    names = [name for name in PATHS if name != "plain" or length <= LONGEST_PLAIN]
    seconds: dict[tuple[str, str], list[float]] = {}
    for run in range(runs + 1):
        for name in names:
            start = time.perf_counter()
            with torch.no_grad():
                PATHS[name](case, length)
            middle = time.perf_counter()
            torch.autograd.grad(PATHS[name](case, length), case[4], case[3])
            stop = time.perf_counter()
            if run:
                seconds.setdefault((name, "forward"), []).append(1000 * (middle - start))
                seconds.setdefault((name, "both"), []).append(1000 * (stop - middle))
    return seconds


def peak_beyond_inputs(name: str, length: int) -> int:
    """Bytes, of a process of its own."""
    command = [sys.executable, __file__, "--child", name, str(length)]
    return int(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def child(name: str, length: int) -> int:
    small = case_of(16)
    torch.autograd.grad(PATHS[name](small, 16), small[4], small[3])
    case = case_of(length)
    # Linux forgets the peak that importing reached.
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak_kib()
    torch.autograd.grad(PATHS[name](case, length), case[4], case[3])
    return 1024 * (_peak_kib() - before)


def _peak_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def lines_of(length: int, runs: int) -> tuple[list[str], dict[str, Ratio]]:
    """The measurements of one length as lines of a Markdown table, and ours beside the others."""
    check(length)
    seconds, lines = timed(length, runs), []
    middle = {key: statistics.median(values) for key, values in seconds.items()}
    for name in PATHS:
        if (name, "both") not in seconds:
            continue
        runs_of = [seconds[name, what] for what in ("forward", "both")]
        cells = [f"{statistics.median(one):.1f} ({min(one):.1f}–{max(one):.1f})" for one in runs_of]
        beside_plain = f"{middle['plain', 'both'] / middle[name, 'both']:.1f}" if ("plain", "both") in middle else "–"
        beside_fused = f"{middle['fused', 'forward'] / middle[name, 'forward']:.2f}"
        memory = human_bytes(peak_beyond_inputs(name, length))
        shape = f"{length} | {rows_of(length)}"
        lines.append(f"| {shape} | {name} | {' | '.join(cells)} | {beside_plain} | {beside_fused} | {memory} |")
    ratios = {f"fused / ours, forward, L={length}": ratio(seconds["fused", "forward"], seconds["ours", "forward"])}
    for name in ("ours", "ours, biased"):
        if ("plain", "both") in seconds:
            ratios[f"plain / {name}, both passes, L={length}"] = ratio(seconds["plain", "both"], seconds[name, "both"])
    return lines, ratios


def header() -> str:
    return (
        f"# Attention on a CPU\n\n{torch.backends.cpu.get_cpu_capability()}, float32, {HEADS} heads of {WIDTH}, causal.\n"
        "Milliseconds, median (min–max) of runs that take turns; *plain* is the expression "
        "with all pairs in memory, *fused* is torch's causal softmax, *biased* has tables of 512 places and 129 time "
        "buckets with their gradients.\n\n"
        "| L | rows | path | forward | forward + backward | plain ÷ it, both passes | fused ÷ it, forward | "
        "peak beyond inputs |\n|---|---|---|---|---|---|---|---|"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/")
    parser.add_argument("--child", nargs=2, metavar=("PATH", "LENGTH"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.child[0], int(arguments.child[1]))))
        return
    lines, ratios = [header()], dict[str, Ratio]()
    print(lines[0], flush=True)
    for length in arguments.lengths:
        more, found = lines_of(length, arguments.runs)
        print("\n".join(more), flush=True)
        lines += more
        ratios |= found
    if arguments.write:
        command = f"python benchmarks/attention.py --runs {arguments.runs} --write"
        print(keep("attention", lines, ratios, command=command, settings={"runs": arguments.runs, "events": EVENTS}))


if __name__ == "__main__":
    main()
