"""How fast ``selective_scan`` is beside a loop over time in Python, forward and backward.

    python benchmarks/selective_scan.py --write

Float32. *reference* is the package's definition, one event after another; *loop* is the same with what does not depend on
the state taken out of it and all rows at each step, as such loops are written to be quick. Runs of all take turns, so
that a ratio compares runs of one minute. No speed is printed where outputs or gradients disagree.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import Tensor

from hpgr.core.jagged import offsets_of
from hpgr.ops.selective_scan import selective_scan

CASES = ((256, 1, 128, 16), (1024, 1, 128, 16), (1024, 1, 128, 32), (1024, 4, 128, 16), (50, 64, 128, 32))
RESULTS = Path(__file__).parent / "results"
Case = tuple[list[Tensor], Tensor]


def case_of(length: int, rows: int, channels: int, numbers: int) -> Case:
    """Leaves ``u, delta, a, b, c`` and the upstream gradient ``[T, E]``."""
    torch.manual_seed(0)
    size = length * rows
    u, b, c = torch.randn(size, channels), torch.randn(size, numbers), torch.randn(size, numbers)
    delta, a = torch.rand(size, channels) * 0.1, -torch.arange(1.0, numbers + 1).repeat(channels, 1)
    return [x.requires_grad_() for x in (u, delta, a, b, c)], torch.randn(size, channels)


def loop(leaves: list[Tensor], rows: int) -> Tensor:
    """All rows at once, step by step."""
    u, delta, a, b, c = leaves
    u, delta, b, c = (x.unflatten(0, (rows, -1)) for x in (u, delta, b, c))
    decays = torch.exp(delta[..., None] * a).unbind(1)
    writes = ((delta * u)[..., None] * b[:, :, None]).unbind(1)
    state, out = torch.zeros(rows, *a.shape), []
    for decay, write, way in zip(decays, writes, c.unbind(1)):
        state = decay * state + write
        out.append((state @ way[..., None]).squeeze(-1))
    return torch.stack(out, 1).flatten(0, 1)


def package(leaves: list[Tensor], rows: int, impl: str) -> Tensor:
    offsets = offsets_of(torch.full((rows,), leaves[0].shape[0] // rows))
    return selective_scan(*leaves, offsets, impl=impl)


PATHS: dict[str, Callable[[list[Tensor], int], Tensor]] = {
    "reference": lambda leaves, rows: package(leaves, rows, "reference"),
    "loop": loop,
    "ours": lambda leaves, rows: package(leaves, rows, "auto"),
}


def check(case: Case, rows: int) -> None:
    """Raises: SystemExit where outputs or gradients are not those of the reference."""
    leaves, upstream = case
    results = {}
    for name, path in PATHS.items():
        out = path(leaves, rows)
        results[name] = (out, *torch.autograd.grad(out, leaves, upstream))
    for name in PATHS:
        for got, want in zip(results[name], results["reference"]):
            if not torch.allclose(got, want, rtol=1e-3, atol=1e-5 * float(want.detach().abs().max())):
                raise SystemExit(f"outputs and gradients of {name} must be those of the reference")


def timed(case: Case, rows: int, runs: int) -> dict[str, list[float]]:
    """Milliseconds of forward and backward, by path."""
    leaves, upstream = case
    found: dict[str, list[float]] = {name: [] for name in PATHS}
    for run in range(runs + 1):
        for name, path in PATHS.items():
            start = time.perf_counter()
            torch.autograd.grad(path(leaves, rows), leaves, upstream)
            if run:
                found[name].append(1000 * (time.perf_counter() - start))
    return found


def lines_of(shape: tuple[int, int, int, int], runs: int) -> list[str]:
    """The measurements of one shape as lines of a Markdown table."""
    case = case_of(*shape)
    check(case, shape[1])
    found = timed(case, shape[1], runs)
    ours = statistics.median(found["ours"])
    return [
        f"| {' | '.join(map(str, shape))} | {name} | {statistics.median(ms):.1f} ({min(ms):.1f}–{max(ms):.1f}) | "
        f"{statistics.median(ms) / ours:.1f} |"
        for name, ms in found.items()
    ]


def header() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return (
        f"# Selective scan on a CPU\n\nCommit {commit or 'unknown'}; {platform.machine()}, {torch.get_num_threads()} threads; "
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, float32.\n"
        "`benchmarks/selective_scan.py`; forward and backward, milliseconds, median (min–max) of runs that take turns; "
        "*reference* is the package's definition, event by event; *loop* the same with all rows at a step and everything that "
        "does not need the state outside.\n\n"
        "| L | rows | channels | numbers a channel | path | forward + backward | it ÷ ours |\n|---|---|---|---|---|---|---|"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--write", action="store_true", help="keep the result in benchmarks/results/")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = [header()]
    print(lines[0], flush=True)
    for shape in CASES:
        more = lines_of(shape, arguments.runs)
        print("\n".join(more), flush=True)
        lines += more
    now = datetime.now(timezone.utc)
    path = RESULTS / f"selective_scan_{platform.machine()}-{len(os.sched_getaffinity(0))}cores_{now:%Y%m}.md"
    if arguments.write:
        path.write_text("\n".join(lines) + "\n")
        print(path)


if __name__ == "__main__":
    main()
