"""How fast ``selective_scan`` is beside a loop over time in Python, forward and backward.

    python benchmarks/selective_scan.py --write

Float32. *reference* is the package's definition, one event after another; *loop* is the same with what does not depend on
the state taken out of it and all rows at each step, as such loops are written to be quick. Runs of all take turns, so
that a ratio compares runs of one minute. No speed is printed where outputs or gradients disagree.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from measured import Ratio, by_cases, in_turn, milliseconds, ratio
from torch import Tensor

from hpgr.core.jagged import offsets_of
from hpgr.ops.selective_scan import selective_scan

CASES = ((256, 1, 128, 16), (1024, 1, 128, 16), (1024, 1, 128, 32), (1024, 4, 128, 16), (50, 64, 128, 32))
HEADER = (
    "# Selective scan on a CPU",
    "",
    "Float32; forward and backward, milliseconds, median (min–max) of runs that take turns; *reference* is the package's",
    "definition, event by event; *loop* the same with all rows at a step and everything that does not need the state outside.",
    "",
    "| L | rows | channels | numbers a channel | path | forward + backward | it ÷ ours |",
    "|---|---|---|---|---|---|---|",
)
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


def compared(shape: tuple[int, int, int, int], runs: int) -> tuple[list[str], dict[str, Ratio]]:
    """One shape: lines of the table, and each path's time over ours."""
    case = leaves, upstream = case_of(*shape)
    check(case, shape[1])
    jobs = {
        name: lambda path=path: torch.autograd.grad(path(leaves, shape[1]), leaves, upstream)
        for name, path in PATHS.items()
    }
    seconds = in_turn(jobs, runs)
    where, lines, ratios = " | ".join(map(str, shape)), [], {}
    for name, own in seconds.items():
        found = ratio(own, seconds["ours"])
        lines.append(f"| {where} | {name} | {milliseconds(own)} | {found.median:.1f} |")
        if name != "ours":
            ratios[f"{name}, L={shape[0]} rows={shape[1]} channels={shape[2]} numbers={shape[3]}"] = found
    return lines, ratios


if __name__ == "__main__":
    by_cases("selective_scan", __doc__, HEADER, CASES, compared, runs=5)
